import Foundation
import Support

/// Numbers as the log of the reference writes them.
enum NumberText {
  /// C's `%.*f`.
  static func fixed(_ value: Double, _ decimals: Int) -> String {
    String(format: "%.\(decimals)f", value)
  }

  /// C's `%.6E`.
  static func scientific(_ value: Double) -> String { String(format: "%.6E", value) }

  /// Right-aligned.
  static func padded(_ value: Int, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: " ", count: max(0, width - digits.count)) + digits
  }

  /// The double nearest to the value's decimal text with that many decimals, as Python's `round`.
  static func rounded(_ value: Double, _ decimals: Int = 8) -> Double {
    guard value.isFinite else { return value }
    return Double(fixed(value, decimals)) ?? value
  }

  /// A float of `logging.jsonl`: 8 decimals; what is not finite keeps Python's spelling.
  static func json(_ value: Double, decimals: Int = 8) -> JSONValue {
    value.isFinite ? JSONValue(rounded(value, decimals)) : .number(value.isNaN ? "nan" : "\(value)")
  }
}
