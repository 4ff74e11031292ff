import Foundation
import Support

extension TextGoldens {
  /// Ids, trained spans, weights and expected length errors of `rows_text.json`.
  public static func runRows(
    file: String, dataRoot: String, tokenizer: Tokenizer
  ) throws(Fault) -> GoldenReport {
    let root = try readJSON(file)
    var report = GoldenReport(file: name(of: file))
    var files = GoldenRows(root: dataRoot)
    for (i, golden) in (root["rows"]?.array ?? []).enumerated() {
      report.cases += 1
      let options = try options(golden["options"])
      let template = try ChatTemplate(options: options, tokenizer: tokenizer)
      let row = try files.row(golden)
      if let failure = compare(golden, with: template, row) {
        report.failures.append("rows[\(i)] \(place(golden)): \(failure)")
      }
    }
    return report
  }

  /// The same of `rows_text_templates.json`: three templates, training and inference.
  public static func runTemplates(
    file: String, dataRoot: String, tokenizer: Tokenizer
  ) throws(Fault) -> GoldenReport {
    let root = try readJSON(file)
    var report = GoldenReport(file: name(of: file))
    var files = GoldenRows(root: dataRoot)
    for (i, golden) in (root["rows"]?.array ?? []).enumerated() {
      report.cases += 1
      var options = TemplateOptions(
        template: try TemplateName(named: golden["template"]?.string ?? ""))
      options.lossScale = try LossScale(named: golden["loss_scale_name"]?.string ?? "")
      let template = try ChatTemplate(options: options, tokenizer: tokenizer)
      var row = try files.row(golden)
      var failure: String?
      if golden["mode"]?.string == "infer" {
        // The golden's maker took the last answer off before asking for the prompt.
        if row.messages.last?.role == "assistant" { row.messages.removeLast() }
        let ids = try template.encodePrompt(row)
        if ids != integers(golden["input_ids"]) { failure = "ids \(tokenizer.decode(ids))" }
      } else {
        failure = compare(golden, with: template, row)
      }
      if let failure {
        report.failures.append(
          "rows[\(i)] \(options.template.rawValue) \(options.lossScale.rawValue)"
            + " \(place(golden)): \(failure)")
      }
    }
    return report
  }

  private static func place(_ golden: JSONValue) -> String {
    "\(golden["file"]?.string ?? "") row \(golden["row"]?.int ?? -1)"
  }

  private static func options(_ value: JSONValue?) throws(Fault) -> TemplateOptions {
    var options = TemplateOptions(template: .qwen3VL)
    options.lossScale = try LossScale(named: value?["loss_scale"]?.string ?? "default")
    options.usesChatTemplate = value?["use_chat_template"]?.bool ?? true
    options.maxLength = value?["max_length"]?.int
    options.system = value?["default_system"]?.string
    options.truncation = try .init(named: value?["truncation_strategy"]?.string ?? "delete")
    return options
  }

  /// What differs, or nil.
  private static func compare(
    _ golden: JSONValue, with template: ChatTemplate, _ row: StandardRow
  ) -> String? {
    let encoded: EncodedRow
    do {
      encoded = try template.encode(row)
    } catch {
      let expectsLength = golden["error"]?.string?.contains("MaxLengthError") == true
      return expectsLength && error.code == .rowTooLong ? nil : error.message
    }
    if let error = golden["error"]?.string { return "encoded, golden fails with \(error)" }
    if encoded.inputIDs != integers(golden["input_ids"]) {
      return "ids " + template.shown(encoded.inputIDs).debugDescription
    }
    let trained = (golden["trained"]?.array ?? []).map(integers)
    if spans(encoded) != trained { return "trained \(spans(encoded)), golden \(trained)" }
    let weights = golden["loss_scale"]?.array.map { $0.compactMap { $0.double.map { Float($0) } } }
    if encoded.lossScale != weights { return "loss_scale differs" }
    if encoded.channel != golden["channel"]?.string { return "channel differs" }
    return nil
  }

  /// [start, end) of the runs whose labels are their ids.
  static func spans(_ row: EncodedRow) -> [[Int32]] {
    var result: [[Int32]] = []
    var start: Int?
    for i in 0...row.labels.count {
      let isTrained = i < row.labels.count && row.labels[i] == row.inputIDs[i]
      if isTrained && start == nil { start = i }
      if !isTrained, let first = start {
        result.append([Int32(first), Int32(i)])
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
    let data = try TextGoldens.readData(path)
    var rows: [JSONObject] = []
    for line in data.split(separator: UInt8(ascii: "\n")) {
      do {
        let value = try line.withUnsafeBytes { try JSONValue.parse($0) }
        rows.append(value.object ?? JSONObject())
      } catch {
        throw Fault(.badJSON, "a line is not JSON", at: .file(path), cause: error)
      }
    }
    return rows
  }
}
