import Foundation
import Support

/// One compared quantity.
struct ParityRow: Sendable {
  let file: String
  let name: String
  let maxAbsolute: Double
  /// ‖a − b‖ / ‖b‖
  let relativeFrobenius: Double
  let cosine: Double
  let verdict: Verdict
  let note: String

  enum Verdict: String, Sendable { case ok, FAIL, info }
}

/// What a quantity may differ by.
struct Tolerance: Sendable {
  /// Bound on the relative Frobenius norm of the difference.
  var relative: Double
  /// Differences up to this are equal, for tensors that are zero or nearly so.
  var absolute: Double = 0
  static let exact = Tolerance(relative: 0)
}

/// How far two arrays of one length are apart.
struct Difference {
  private(set) var maximum = 0.0
  /// ‖a − b‖ / ‖b‖, or ‖a − b‖ where b is zero.
  private(set) var relative = 0.0
  private(set) var cosine = 1.0
  /// Both are, wherever they differ.
  private(set) var isFinite = true

  init(_ actual: [Float], _ expected: [Float]) {
    var difference = 0.0
    var norm = 0.0
    var own = 0.0
    var dot = 0.0
    for (a, b) in zip(actual, expected) {
      let (a, b) = (Double(a), Double(b))
      if a == b {  // equal infinities too
        if a.isFinite { norm += b * b; own += a * a; dot += a * b }
        continue
      }
      isFinite = isFinite && a.isFinite && b.isFinite
      maximum = max(maximum, abs(a - b))
      difference += (a - b) * (a - b)
      norm += b * b
      own += a * a
      dot += a * b
    }
    relative = norm > 0 ? (difference / norm).squareRoot() : difference.squareRoot()
    cosine = norm > 0 && own > 0 ? dot / (norm * own).squareRoot() : 1
  }
}

/// Collects rows, prints them, and says whether all passed.
struct ParityReport {
  private(set) var rows: [ParityRow] = []
  private(set) var skipped: [String] = []

  var failures: Int { rows.count { $0.verdict == .FAIL } }

  mutating func skip(_ what: String) { skipped.append(what) }

  /// A quantity that could not be made.
  mutating func fail(_ file: String, _ name: String, _ note: String) {
    add(file, name, .infinity, .infinity, 0, false, false, note)
  }

  /// Compares arrays; a length or a non-finite number that differs fails.
  mutating func compare(
    _ file: String, _ name: String, _ actual: [Float], _ expected: [Float], _ tolerance: Tolerance,
    informs: Bool = false
  ) {
    guard actual.count == expected.count else {
      add(
        file, name, .infinity, .infinity, 0, false, informs,
        "\(actual.count) values, expected \(expected.count)")
      return
    }
    let found = Difference(actual, expected)
    let passes =
      found.isFinite
      && (found.relative <= tolerance.relative || found.maximum <= tolerance.absolute)
    add(file, name, found.maximum, found.relative, found.cosine, passes, informs, "")
  }

  /// Compares whole numbers; every one must be equal.
  mutating func compare(
    _ file: String, _ name: String, _ actual: [Int], _ expected: [Int],
    allowed: Int = 0, informs: Bool = false
  ) {
    let wrong =
      actual.count == expected.count
      ? zip(actual, expected).count { $0 != $1 } : max(actual.count, expected.count)
    add(
      file, name, Double(wrong), expected.isEmpty ? 0 : Double(wrong) / Double(expected.count), 1,
      wrong <= allowed, informs, wrong == 0 ? "" : "\(wrong) of \(expected.count) differ")
  }

  /// One number.
  mutating func compare(
    _ file: String, _ name: String, _ actual: Double, _ expected: Double,
    absolute: Double = 0, relative: Double = 0, informs: Bool = false
  ) {
    let difference = abs(actual - expected)
    let ratio = expected != 0 ? difference / abs(expected) : difference
    add(
      file, name, difference, ratio, 1,
      difference <= absolute || ratio <= relative, informs, "\(actual) for \(expected)")
  }

  private mutating func add(
    _ file: String, _ name: String, _ maximum: Double, _ relative: Double, _ cosine: Double,
    _ passes: Bool, _ informs: Bool, _ note: String
  ) {
    rows.append(
      ParityRow(
        file: file, name: name, maxAbsolute: maximum, relativeFrobenius: relative, cosine: cosine,
        verdict: informs ? .info : passes ? .ok : .FAIL, note: note))
  }

  /// The table: one line per quantity, then what was skipped, then the sum.
  var lines: [String] {
    func pad(_ text: String, _ width: Int) -> String {
      text.count >= width ? text : text + String(repeating: " ", count: width - text.count)
    }
    var out = [pad("quantity", 64) + "   max abs   rel Frob     cosine  verdict"]
    for row in rows {
      let numbers = String(
        format: "%10.3e %10.3e %10.7f", row.maxAbsolute, row.relativeFrobenius, row.cosine)
      out.append(
        pad("\(row.file) \(row.name)", 64) + numbers + "  \(row.verdict.rawValue)"
          + (row.note.isEmpty ? "" : "  (\(row.note))"))
    }
    out += skipped.map { "skipped: \($0)" }
    out.append("\(rows.count) compared, \(failures) failed")
    return out
  }
}
