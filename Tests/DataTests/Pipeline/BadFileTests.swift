import Testing

@testable import DataPipeline
@testable import Support

/// Every malformed file gives the outcome that data/bad asks for.
@Suite struct BadFiles {
  /// The fault that preparing a file ends with.
  private func outcome(_ file: String, _ change: (inout DataOptions) -> Void = { _ in }) -> Fault? {
    var options = Fixtures.options(Fixtures.bad(file))
    change(&options)
    do throws(Fault) {
      _ = try DatasetPlan.prepare(options: options, encode: Fixtures.encode)
      return nil
    } catch { return error }
  }

  /// Lines that are kept, and the account of the file.
  private func kept(
    _ file: String, _ change: (inout DataOptions) -> Void = { _ in }
  ) throws -> (count: Int, report: DataReport.File) {
    var options = Fixtures.options(Fixtures.bad(file))
    change(&options)
    let data = try DatasetPlan.prepare(options: options, encode: Fixtures.encode)
    return (try #require(data.train.count), try #require(data.report.files.first))
  }

  @Test(
    "A file that cannot be parsed stops the program and names the line",
    arguments: [
      ("broken_json.jsonl", 2, "line 2: not valid JSON (string not closed)"),
      ("trailing_comma.jsonl", 2, "line 2: not valid JSON (comma before ])"),
      ("array_lines.jsonl", 1, "line 1: expected a JSON object, found a list"),
      ("not_utf8.jsonl", 2, "line 2: not UTF-8 at byte 47"),
      ("utf16.jsonl", 1, "the file is UTF-16"),
    ])
  func unparsable(file: String, line: Int, message: String) throws {
    let fault = try #require(outcome(file))
    #expect(fault.code == .badDataFile)
    #expect(fault.code.exit == .badData)
    #expect(fault.message == message)
    guard case .file(let path, let at, _)? = fault.place else {
      Issue.record("no place")
      return
    }
    #expect(path == Fixtures.bad(file))
    #expect(at == line)
    #expect(fault.fix != nil || file == "utf16.jsonl")
  }

  @Test("A file without rows stops the program")
  func empty() throws {
    let fault = try #require(outcome("empty.jsonl"))
    #expect(fault.code == .noRows)
    #expect(fault.message == "the dataset has no rows")
  }

  @Test("Columns without a meaning are listed, with --columns as the mend")
  func unknownColumns() throws {
    let fault = try #require(outcome("no_known_columns.jsonl"))
    #expect(fault.code == .unknownColumns)
    #expect(
      fault.message
        == "no column maps to messages or to query/response; columns are foo, bar")
    #expect(fault.fix?.contains("--columns") == true)
  }

  @Test(
    "Harmless oddities are accepted without a word",
    arguments: [("bom.jsonl", 1), ("blank_lines.jsonl", 2), ("mixed_types.jsonl", 2)])
  func accepted(file: String, rows: Int) throws {
    let (count, report) = try kept(file) { $0.rows.acceptsMedia = true }
    #expect(count == rows)
    #expect(report.dropped == 0 && report.warnings == 0)
  }

  @Test("Content that is no text drops the row and names the field")
  func content() throws {
    let (count, report) = try kept("content_not_string.jsonl")
    #expect(count == 1)
    #expect(report.read == 5 && report.dropped == 4)
    let starts = [
      "line 1: messages[0].content must be a string, found a number",
      "line 2: messages[0].content must be a string, found a list that holds a string",
      "line 3: messages must be a list, found a string",
      "line 4: messages[0].content is missing",
    ]
    #expect(report.reasons.count == 4)
    for (reason, start) in zip(report.reasons, starts) { #expect(reason.hasPrefix(start)) }
  }

  @Test("Empty lists and null content drop the row, empty texts stay")
  func emptyMessages() throws {
    let (count, report) = try kept("empty_messages.jsonl")
    #expect(count == 2)
    let lines = report.reasons.map { $0.prefix(while: { $0 != "(" }) }
    #expect(
      lines == [
        "line 1: messages is empty ", "line 3: messages is empty ",
        "line 5: messages[0].content is null ",
      ])
  }

  @Test("Roles out of turn drop the row and name role and place")
  func roles() throws {
    let (count, report) = try kept("role_order.jsonl")
    #expect(count == 2)
    #expect(report.dropped == 5)
    let texts = report.reasons.joined(separator: "\n")
    #expect(texts.contains("line 2: no assistant text, nothing to train on"))
    #expect(texts.contains("line 3: no assistant text, nothing to train on"))
    #expect(texts.contains("line 4: messages[1].role is system"))
    #expect(texts.contains("line 5: messages[1].role is \"robot\""))
    #expect(texts.contains("line 6: messages[1].role is tool, but no tool_call stands before it"))
  }

  @Test("Marks without a medium stay as text with a warning")
  func tags() throws {
    let (count, report) = try kept("tag_mismatch.jsonl") { $0.rows.acceptsMedia = true }
    #expect(count == 4)
    #expect(
      report.warningTexts.map { $0.prefix(7) } == ["line 1:", "line 2:", "line 3:", "line 4:"])
  }

  @Test("Rows with media are refused for a text model, others stay")
  func textModel() throws {
    let (count, report) = try kept("missing_image.jsonl")
    #expect(count == 1)
    #expect(
      report.reasons.first?.contains("the row has 1 picture, but the model reads text only") == true
    )
  }

  @Test("Boxes that cannot be read drop the row")
  func boxes() throws {
    let (count, report) = try kept("bbox.jsonl") { $0.rows.acceptsMedia = true }
    #expect(count == 4)
    let texts = report.reasons.joined(separator: "\n")
    #expect(texts.contains("line 1: objects.bbox[0]: a box has 2 or 4 numbers, found 3"))
    #expect(texts.contains("line 2: objects.bbox[0]: a box has 2 or 4 numbers, found 6"))
    #expect(texts.contains("line 6: image_id 3, but 1 picture"))
    #expect(texts.contains("line 7: objects.bbox is missing"))
    #expect(texts.contains("line 8: objects.bbox_type must be real or norm1"))
    #expect(report.warningTexts.map { $0.prefix(7) } == ["line 3:", "line 4:"])
  }

  @Test("A frame list with nothing in it leaves no rows")
  func frames() throws {
    let fault = try #require(outcome("video_empty_frames.jsonl") { $0.rows.acceptsMedia = true })
    #expect(fault.code == .noRows)
    #expect(fault.found?.contains("videos[0] has no frames") == true)
  }

  @Test("Rows over max_length are counted, not listed")
  func tooLong() throws {
    let (count, report) = try kept("too_long.jsonl") { $0.encoding.maxLength = 2048 }
    #expect(count == 1)
    #expect(report.tooLong == 2 && report.dropped == 0 && report.reasons.isEmpty)
  }

  @Test(
    "Rows over max_length are cut when asked for", arguments: [TruncationStrategy.left, .right])
  func cut(side: TruncationStrategy) throws {
    let (count, report) = try kept("too_long.jsonl") {
      $0.encoding.maxLength = 2048
      $0.encoding.truncation = side
    }
    #expect(count == 3)
    #expect(report.truncated == 2)
  }

  @Test("Tools and calls that are no JSON drop the row")
  func tools() throws {
    let (count, report) = try kept("tools_bad.jsonl")
    #expect(count == 1)
    let texts = report.reasons.joined(separator: "\n")
    #expect(texts.contains("line 1: tools is not valid JSON"))
    #expect(texts.contains("line 2: messages[1]: tool_call content is not valid JSON"))
  }

  @Test(
    "Strict stops at the first bad row with its line",
    arguments: [
      ("content_not_string.jsonl", 1), ("empty_messages.jsonl", 1), ("role_order.jsonl", 2),
      ("tools_bad.jsonl", 1), ("bbox.jsonl", 1), ("missing_image.jsonl", 2), ("too_long.jsonl", 1),
    ])
  func strict(file: String, line: Int) throws {
    let fault = try #require(
      outcome(file) {
        $0.rows.strict = true
        $0.encoding.maxLength = 2048
        $0.rows.acceptsMedia = file == "bbox.jsonl"
      })
    guard case .file(let path, let at, _)? = fault.place else {
      Issue.record("no place")
      return
    }
    #expect(path == Fixtures.bad(file) && at == line)
    #expect(fault.fix?.contains("--strict false") == true)
  }

  @Test(
    "A stream drops the same rows as a list",
    arguments: ["content_not_string.jsonl", "empty_messages.jsonl", "role_order.jsonl"])
  func streamed(file: String) throws {
    let listed = try kept(file)
    var options = Fixtures.options(Fixtures.bad(file))
    options.encoding.streaming = true
    let data = try DatasetPlan.prepare(options: options, encode: Fixtures.encode)
    var plan = BatchPlan()
    plan.maxEpochs = 1
    plan.workers = 0
    let source = try BatchSource(data.train, plan: plan)
    var count = 0
    while try source.next() != nil { count += 1 }
    #expect(count == listed.count)
    let found = try #require(data.report.files.first)
    #expect(found.dropped == listed.report.dropped && found.read == listed.report.read)
  }
}
