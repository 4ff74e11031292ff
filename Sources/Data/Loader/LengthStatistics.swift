import Foundation

/// Mean, spread and range of the lengths of a data set, in tokens.
public struct LengthStatistics: Sendable, Equatable {
  public let mean: Double
  /// Standard deviation over all samples (not the estimate from a sample).
  public let deviation: Double
  public let minimum: Int
  public let maximum: Int
  public let count: Int

  /// nil for no lengths.
  public init?(_ lengths: [Int]) {
    guard let least = lengths.min(), let most = lengths.max() else { return nil }
    let size = Double(lengths.count)
    let mean = lengths.reduce(0.0) { $0 + Double($1) } / size
    self.mean = mean
    deviation =
      (lengths.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / size).squareRoot()
    minimum = least
    maximum = most
    count = lengths.count
  }

  /// The line that users of the reference look for.
  public var line: String {
    String(
      format: "Dataset Token Length: %.6f±%.6f, min=%.6f, max=%.6f, size=%d", mean, deviation,
      Double(minimum), Double(maximum), count)
  }
}
