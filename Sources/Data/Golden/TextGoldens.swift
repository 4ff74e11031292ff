import Foundation
import Support

/// Names of the golden files of texts.
public let textGoldenFiles = ["tokenize.json", "rows_text.json", "rows_text_templates.json"]

/// Compares one of `textGoldenFiles` with what tokenizer and templates make.
/// - Parameters:
///   - golden: the file; its name decides what is compared.
///   - dataRoot: the folder that the rows' file names are relative to.
/// - Throws: `FILE-001` if a file is missing, `DATA-101` if it cannot be read.
public func runTextGolden(
  golden: String, dataRoot: String, tokenizer: Tokenizer
) throws(Fault) -> GoldenReport {
  switch golden.split(separator: "/").last ?? "" {
  case "tokenize.json": return try runTokenizeGolden(golden: golden, tokenizer: tokenizer)
  case "rows_text.json":
    return try runRowsTextGolden(golden: golden, dataRoot: dataRoot, tokenizer: tokenizer)
  case "rows_text_templates.json":
    return try runTextTemplatesGolden(golden: golden, dataRoot: dataRoot, tokenizer: tokenizer)
  default:
    throw Fault(
      .missingFile, "this is no golden file of texts", at: .file(golden),
      expected: textGoldenFiles.joined(separator: ", "), fix: "name one of these")
  }
}

/// Compares ids and decoded text of `rows`, and the decoded text of `decode_only`.
/// - Throws: `FILE-001` if the file is missing, `DATA-101` if it is no JSON.
public func runTokenizeGolden(
  golden: String, tokenizer: Tokenizer
) throws(Fault) -> GoldenReport {
  let root = try goldenValue(golden)
  var report = GoldenReport(file: golden)
  var encoder = TokenEncoder(tokenizer)
  for (i, row) in (root["rows"]?.array ?? []).enumerated() {
    report.cases += 1
    let text = row["text"]?.string ?? ""
    let wanted = tokenIDs(row["ids"])
    let found = encoder.encode(text)
    let decoded = tokenizer.decode(wanted)
    let shown = tokenizer.decode(wanted, skipSpecial: true)
    if found != wanted {
      report.failures.append(
        "rows[\(i)] \(text.debugDescription): expected \(wanted), found \(found)")
    } else if !isSame(decoded, row["decoded"]) || !isSame(shown, row["decoded_skip_special"]) {
      report.failures.append("rows[\(i)]: decoded \(decoded.debugDescription)")
    }
  }
  for (i, row) in (root["decode_only"]?.array ?? []).enumerated() {
    report.cases += 1
    let decoded = tokenizer.decode(tokenIDs(row["ids"]))
    if !isSame(decoded, row["decoded"]) {
      report.failures.append("decode_only[\(i)]: decoded \(decoded.debugDescription)")
    }
  }
  return report
}

/// Equality of code points: Swift's own takes canonically equivalent texts for equal.
private func isSame(_ text: String, _ golden: JSONValue?) -> Bool {
  golden?.string.map { text.utf8.elementsEqual($0.utf8) } ?? false
}

func tokenIDs(_ value: JSONValue?) -> [Int32] {
  (value?.ints ?? []).compactMap { Int32(exactly: $0) }
}
