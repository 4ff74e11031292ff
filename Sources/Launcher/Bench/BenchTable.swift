import Foundation
import Support

/// The measured table of docs/performance.md, between two lines that mark it.
struct BenchTable {
  static let begin = "<!-- megatron-bench all: begin -->"
  static let end = "<!-- megatron-bench all: end -->"
  private static let usualPath = "docs/performance.md"

  /// nil: there is no file, the table goes to standard output.
  private let path: String?
  private let before: String
  private let after: String

  /// - Parameter path: a Markdown file with the two lines; nil takes docs/performance.md of the
  ///   current folder if there is one.
  /// - Throws: `FILE-001`, `FILE-002`; `FILE-002` for a file without the lines.
  init(_ given: String?) throws(Fault) {
    guard let path = given ?? (PathText.exists(Self.usualPath) ? Self.usualPath : nil) else {
      self.path = nil
      (before, after) = ("", "")
      return
    }
    let text = String(decoding: try AtomicFile.read(path), as: UTF8.self)
    guard let first = text.range(of: Self.begin), let last = text.range(of: Self.end),
      first.upperBound <= last.lowerBound
    else {
      throw Fault(
        .unreadableFile, "the file has no place for the table", at: .file(path),
        expected: "the lines \(Self.begin) and \(Self.end)")
    }
    self.path = path
    before = String(text[..<first.upperBound])
    after = String(text[last.lowerBound...])
  }

  /// - Throws: `FILE-003`.
  func write(_ lines: [JSONObject]) throws(Fault) {
    let table = Self.markdown(lines)
    guard let path else {
      Terminal.write(table, to: .output)
      return
    }
    try AtomicFile.write(before + "\n" + table + after, to: path)
  }

  /// One row per line, in the order of measurement.
  static func markdown(_ lines: [JSONObject]) -> String {
    guard let first = lines.first else { return "" }
    let clock = first["clock"]?.string == "cpu" ? "processor time" : "wall time"
    var text =
      "\(first["machine"]?.string ?? ""); level \(first["level"]?.string ?? ""); "
      + "\(first["threads"]?.int ?? 1) thread(s), \(first["ranks"]?.int ?? 1) rank(s); \(clock).\n\n"
      + "| kind | operation | dtype | shape | median | spread | rate | share of peak |\n"
      + "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
    let kind = first["clock"]?.string ?? "wall"
    for line in lines { text += row(line, kind) + "\n" }
    return text
  }

  private static func row(_ line: JSONObject, _ clock: String) -> String {
    let operation = line["operation"] ?? line["case"]
    var cells = [line["kind"], operation, line["dtype"]].map { $0.map(cell) ?? "" }
    cells.append(shape(line).joined(separator: ", "))
    let isProcessorTime = clock == "cpu"
    let seconds = [
      "median", isProcessorTime ? "cpu_seconds" : "wall_seconds",
      isProcessorTime ? "cpu_s" : "wall_s",
    ]
    cells.append(milliseconds(seconds.lazy.compactMap { line[$0]?.double }.first ?? 0))
    cells.append(percent(line["spread"]))
    cells.append(rate(line, isProcessorTime))
    cells.append(percent(line["share_of_peak"]))
    return "| " + cells.joined(separator: " | ") + " |"
  }

  /// What was measured: kernels say it in one member, generation and data in several.
  private static func shape(_ line: JSONObject) -> [String] {
    if let members = line["shape"]?.object?.members {
      return members.map { "\($0.key) \(cell($0.value))" }
    }
    return ["model", "batch", "prompt", "count"].compactMap { key in
      line[key].map { key == "model" ? cell($0) : "\(key) \(cell($0))" }
    }
  }

  private static func rate(_ line: JSONObject, _ isProcessorTime: Bool) -> String {
    let rates = [
      ("GF/s", "GF/s"), ("GB/s", "GB/s"),
      (isProcessorTime ? "tokens_per_cpu_second" : "tokens_per_second", "tokens/s"),
      (isProcessorTime ? "per_cpu_s" : "per_s", "\(line["unit"]?.string ?? "")/s"),
    ]
    let tokens = line["kind"]?.string == "step" ? line["tokens_per_second"]?.double : nil
    for (key, unit) in rates {
      guard let value = line[key]?.double else { continue }
      let text = String(format: value < 1000 ? "%.4g" : "%.0f", value) + " " + unit
      return text + (tokens.map { String(format: ", %.0f tokens/s", $0) } ?? "")
    }
    return ""
  }

  private static func percent(_ value: JSONValue?) -> String {
    value?.double.map { "\(Int(($0 * 100).rounded())) %" } ?? ""
  }

  private static func cell(_ value: JSONValue) -> String {
    switch value {
    // Of a path the name: where it lies says nothing.
    case .string(let text): return text.split(separator: "/").last.map(String.init) ?? text
    case .number(let text): return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    case .array(let items): return items.map(cell).joined(separator: "+")
    default: return ""
    }
  }

  private static func milliseconds(_ seconds: Double) -> String {
    String(format: seconds < 0.01 ? "%.3f ms" : seconds < 1 ? "%.1f ms" : "%.0f ms", seconds * 1e3)
  }
}
