import Foundation
import Support

/// Compares ids, trained spans, weights and expected length errors of `rows_text.json`.
/// - Throws: `FILE-001` if a file is missing, `DATA-101` if it cannot be read.
public func runRowsTextGolden(
  golden: String, dataRoot: String, tokenizer: Tokenizer
) throws(Fault) -> GoldenReport {
  let root = try goldenValue(golden)
  var report = GoldenReport(file: golden)
  var files = GoldenRows(root: dataRoot)
  for (i, wanted) in (root["rows"]?.array ?? []).enumerated() {
    report.cases += 1
    let template = try ChatTemplate(options: wanted.templateOptions(), tokenizer: tokenizer)
    if let failure = wanted.difference(template, try files.row(wanted)) {
      report.failures.append("rows[\(i)] \(wanted.goldenPlace): \(failure)")
    }
  }
  return report
}

/// Compares ids, trained spans and prompts of `rows_text_templates.json`.
/// - Throws: `FILE-001` if a file is missing, `DATA-101` if it cannot be read.
public func runTextTemplatesGolden(
  golden: String, dataRoot: String, tokenizer: Tokenizer
) throws(Fault) -> GoldenReport {
  let root = try goldenValue(golden)
  var report = GoldenReport(file: golden)
  var files = GoldenRows(root: dataRoot)
  for (i, wanted) in (root["rows"]?.array ?? []).enumerated() {
    report.cases += 1
    let name = wanted["template"]?.string ?? ""
    var options = TemplateOptions(template: try TemplateName(named: name))
    options.lossScale = try LossScale(named: wanted["loss_scale_name"]?.string ?? "")
    let template = try ChatTemplate(options: options, tokenizer: tokenizer)
    let row = try files.row(wanted)
    let isPrompt = wanted["mode"]?.string == "infer"
    let failure =
      try isPrompt
      ? wanted.promptDifference(template, row) : wanted.difference(template, row)
    if let failure {
      report.failures.append(
        "rows[\(i)] \(name) \(options.lossScale.rawValue) \(wanted.goldenPlace): \(failure)")
    }
  }
  return report
}

extension JSONValue {
  var goldenPlace: String {
    "\(self["file"]?.string ?? "") row \(self["row"]?.int ?? -1)"
  }

  func templateOptions() throws(Fault) -> TemplateOptions {
    let given = self["options"]
    var options = TemplateOptions(template: .qwen3VL)
    options.lossScale = try LossScale(named: given?["loss_scale"]?.string ?? "default")
    options.usesChatTemplate = given?["use_chat_template"]?.bool ?? true
    options.maxLength = given?["max_length"]?.int
    options.system = given?["default_system"]?.string
    options.truncation = try TruncationStrategy(
      named: given?["truncation_strategy"]?.string ?? "delete")
    return options
  }

  /// What differs from the stored row, or nil.
  func difference(_ template: ChatTemplate, _ row: StandardRow) -> String? {
    let encoded: EncodedRow
    do {
      encoded = try template.encode(row)
    } catch {
      let expectsLength = self["error"]?.string?.contains("MaxLengthError") == true
      if expectsLength && error.code == .rowTooLong { return nil }
      let expectsMedia = self["error"]?.string?.contains("must be > 0") == true
      return expectsMedia && error.code == .badMedia ? nil : error.message
    }
    if let error = self["error"]?.string { return "encoded, where \(error) was expected" }
    if encoded.inputIDs != tokenIDs(self["input_ids"]) {
      return "found " + template.shown(encoded.inputIDs).debugDescription
    }
    let spans = self["trained"]?.intLists
    if encoded.trainedSpans != spans {
      return "trained \(encoded.trainedSpans), expected \(spans ?? [])"
    }
    let weights = self["loss_scale"]?.array.map { $0.compactMap { $0.double.map { Float($0) } } }
    if encoded.lossScale != weights { return "loss_scale differs" }
    return encoded.channel == self["channel"]?.string ? nil : "channel differs"
  }

  /// What differs from the stored prompt, or nil.
  fileprivate func promptDifference(
    _ template: ChatTemplate, _ row: StandardRow
  ) throws(Fault) -> String? {
    var row = row
    // The maker of the file took the last answer off before it asked for the prompt.
    if row.messages.last?.role == "assistant" { row.messages.removeLast() }
    let ids = try template.encodePrompt(row)
    if ids == tokenIDs(self["input_ids"]) { return nil }
    return "found " + template.shown(ids).debugDescription
  }
}

extension EncodedRow {
  /// [start, end) of the runs whose labels are their ids.
  var trainedSpans: [[Int]] {
    var result: [[Int]] = []
    var start: Int?
    for i in 0...labels.count {
      let isTrained = i < labels.count && labels[i] == inputIDs[i]
      if isTrained && start == nil { start = i }
      if !isTrained, let first = start {
        result.append([first, i])
        start = nil
      }
    }
    return result
  }
}

/// Rows of JSON Lines files by number, each file read once.
struct GoldenRows {
  let root: String
  private var files: [String: [JSONObject]] = [:]

  init(root: String) { self.root = root }

  /// The standard row that a golden case names by `file` and `row`.
  mutating func row(_ golden: JSONValue) throws(Fault) -> StandardRow {
    let path = root + "/" + (golden["file"]?.string ?? "")
    let number = golden["row"]?.int ?? -1
    if files[path] == nil { files[path] = try read(path) }
    guard let rows = files[path], rows.indices.contains(number) else {
      throw Fault(
        .badJSON, "there is no row \(number)", at: .file(path),
        fix: "use the data folder that the golden files were made with")
    }
    let raw = RawRow(columns: rows[number], source: .init(file: path, line: number + 1))
    let plan = try ColumnPlan(columns: raw.columns.keys, renames: [], file: path)
    let standardizer = RowStandardizer(plan: plan, preset: .none, options: RowOptions())
    guard let row = try standardizer.standardize(raw, pick: 0) else {
      throw Fault(.badJSON, "row \(number) was passed over", at: .file(path))
    }
    return row
  }

  private func read(_ path: String) throws(Fault) -> [JSONObject] {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw Fault(.missingFile, "the rows of a golden file are missing", at: .file(path))
    }
    var rows: [JSONObject] = []
    for (i, line) in data.split(separator: UInt8(ascii: "\n")).enumerated() {
      rows.append(try parseJSON([UInt8](line), path: path, firstLine: i + 1).object ?? JSONObject())
    }
    return rows
  }
}
