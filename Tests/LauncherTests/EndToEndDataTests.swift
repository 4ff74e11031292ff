import Foundation
import Support
import Testing

@testable import Launcher

/// Malformed rows at the command line: outcome and message of every kind of file.
@Suite(
  "Bad rows from end to end", .serialized,
  .enabled(if: EndToEnd.hasPrograms, "the programs were not found"))
struct EndToEndDataTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let file: String
    /// Rows that are left to train on; nil where the program stops.
    let kept: Int?
    let messages: [String]
    /// What strict reading says; nil where there is no bad row.
    var strict: String?
    var testDescription: String { file }
  }

  static let unreadable = [
    Case(file: "broken_json", kept: nil, messages: ["line 2: not valid JSON (string not closed)"]),
    Case(file: "trailing_comma", kept: nil, messages: ["line 2: not valid JSON (comma before ])"]),
    Case(file: "array_lines", kept: nil, messages: ["line 1: expected a JSON object"]),
    Case(
      file: "not_utf8", kept: nil,
      messages: ["line 2: not UTF-8 at byte 47", "save the file as UTF-8"]),
    Case(file: "utf16", kept: nil, messages: ["the file is UTF-16", "save it as UTF-8"]),
    Case(file: "empty", kept: nil, messages: ["the dataset has no rows"]),
    Case(
      file: "no_known_columns", kept: nil,
      messages: ["no column maps to messages", "columns are foo, bar", "--columns"]),
  ]

  static let readable = [
    Case(file: "bom", kept: 1, messages: []),
    Case(file: "blank_lines", kept: 2, messages: []),
    Case(
      file: "content_not_string", kept: 1,
      messages: [
        "origin length: 5", "line 1: messages[0].content must be a string, found a number",
        "line 2: messages[0].content must be a string", "line 3: messages must be a list",
        "line 4: messages[0].content is missing",
      ], strict: "messages[0].content must be a string"),
    Case(
      file: "empty_messages", kept: 2,
      messages: ["line 1: messages is empty", "line 5: messages[0].content is null"],
      strict: "messages is empty"),
    Case(
      file: "role_order", kept: 2,
      messages: [
        "line 2: no assistant text, nothing to train on", "line 3: no assistant text",
        "line 4: messages[1].role is system", #"line 5: messages[1].role is "robot""#,
        "line 6: messages[1].role is tool",
      ], strict: "role_order.jsonl"),
    Case(
      file: "too_long", kept: 1, messages: ["2 rows over max_length"],
      strict: "max_length is 2048"),
    Case(
      file: "tools_bad", kept: 1,
      messages: [
        "line 1: tools is not valid JSON", "line 2: messages[1]: tool_call content is not",
      ],
      strict: "not valid JSON"),
  ]

  private func run(_ file: String, strict: Bool) throws -> Finished {
    let job = try TinyJob(.dense, rowCount: 1)
    return try job.run([
      "--dataset", "\(Fixtures.folder)/bad/\(file).jsonl", "--strict", strict ? "true" : "false",
      "--max_length", "2048", "--train_iters", "1", "--global_batch_size", "1",
    ])
  }

  @Test("a file that cannot be read as rows stops the program", arguments: unreadable)
  func stops(_ item: Case) throws {
    for strict in [false, true] {
      let done = try run(item.file, strict: strict)
      #expect(done.status == ExitCode.badData.rawValue, "\(done.text)")
      #expect(done.faults.count == 1, "\(done.text)")
      for message in item.messages { #expect(done.text.contains(message), "\(done.text)") }
      #expect(done.text.contains("bad/\(item.file).jsonl"))
    }
  }

  @Test("bad rows are left out and named, good ones are trained on", arguments: readable)
  func goesOn(_ item: Case) throws {
    let done = try run(item.file, strict: false)
    #expect(done.status == 0, "\(done.text)")
    #expect(done.text.contains("size=\(item.kept ?? -1)\n"), "\(done.text)")
    for message in item.messages { #expect(done.text.contains(message), "\(done.text)") }
  }

  @Test("with --strict true the program stops at a bad row", arguments: readable)
  func strictly(_ item: Case) throws {
    let done = try run(item.file, strict: true)
    guard let message = item.strict else {
      #expect(done.status == 0, "\(done.text)")
      return
    }
    #expect(done.status == ExitCode.badData.rawValue, "\(done.text)")
    #expect(done.faults.count == 1 && done.text.contains(message), "\(done.text)")
    #expect(done.text.contains("--strict false"))
  }
}
