import Foundation
import Support

/// Comparison of tokenizer and templates with golden files made by the reference library.
public enum TextGoldens {
  /// The golden files of texts.
  public static let files = ["tokenize.json", "rows_text.json", "rows_text_templates.json"]

  /// Compares one of `files` by its name.
  /// - Parameters:
  ///   - folder: the folder of the golden files.
  ///   - dataRoot: the folder that the rows' file names are relative to.
  /// - Throws: FILE-001, FILE-002, FILE-004 if a file is missing or damaged.
  public static func run(
    _ name: String, folder: String, dataRoot: String, tokenizer: Tokenizer
  ) throws(Fault) -> GoldenReport {
    let file = folder + "/" + name
    switch name {
    case "tokenize.json": return try runTokenize(file: file, tokenizer: tokenizer)
    case "rows_text.json":
      return try runRows(file: file, dataRoot: dataRoot, tokenizer: tokenizer)
    case "rows_text_templates.json":
      return try runTemplates(file: file, dataRoot: dataRoot, tokenizer: tokenizer)
    default:
      throw Fault(
        .missingFile, "\(name) is no golden file of texts", at: .file(file),
        expected: files.joined(separator: ", "), fix: "name one of these")
    }
  }

  /// Ids and decoded text of `rows`, decoded text of `decode_only`.
  public static func runTokenize(file: String, tokenizer: Tokenizer) throws(Fault) -> GoldenReport {
    let root = try readJSON(file)
    var report = GoldenReport(file: name(of: file))
    for (i, row) in (root["rows"]?.array ?? []).enumerated() {
      report.cases += 1
      let text = row["text"]?.string ?? ""
      let ids = integers(row["ids"])
      let found = tokenizer.encode(text)
      let decoded = tokenizer.decode(ids)
      let shown = tokenizer.decode(ids, skipSpecial: true)
      if found != ids {
        report.failures.append("rows[\(i)] \(text.debugDescription): ids \(found), golden \(ids)")
      } else if !same(decoded, row["decoded"]) || !same(shown, row["decoded_skip_special"]) {
        report.failures.append("rows[\(i)]: decoded \(decoded.debugDescription)")
      }
    }
    for (i, row) in (root["decode_only"]?.array ?? []).enumerated() {
      report.cases += 1
      let decoded = tokenizer.decode(integers(row["ids"]))
      if !same(decoded, row["decoded"]) {
        report.failures.append("decode_only[\(i)]: decoded \(decoded.debugDescription)")
      }
    }
    return report
  }

  /// Equality of code points: Swift's own compares canonically equivalent texts as equal.
  private static func same(_ text: String, _ golden: JSONValue?) -> Bool {
    guard let golden = golden?.string else { return false }
    return text.utf8.elementsEqual(golden.utf8)
  }
}

extension TextGoldens {
  static func name(of file: String) -> String {
    file.split(separator: "/").last.map(String.init) ?? file
  }

  static func integers(_ value: JSONValue?) -> [Int32] {
    (value?.array ?? []).compactMap { $0.int.flatMap { Int32(exactly: $0) } }
  }

  static func readData(_ file: String) throws(Fault) -> Data {
    guard FileManager.default.fileExists(atPath: file) else {
      throw Fault(
        .missingFile, "the golden file does not exist", at: .file(file),
        fix: "name the folder of the golden files")
    }
    do {
      return try Data(contentsOf: URL(fileURLWithPath: file))
    } catch {
      throw Fault(.unreadableFile, "the file cannot be read", at: .file(file), cause: error)
    }
  }

  static func readJSON(_ file: String) throws(Fault) -> JSONValue {
    let data = try readData(file)
    do {
      return try data.withUnsafeBytes { try JSONValue.parse($0) }
    } catch {
      throw Fault(.badJSON, "not valid JSON", at: .file(file), cause: error)
    }
  }
}
