/// The outcome of comparing one golden file.
public struct GoldenReport: Sendable, Equatable {
  public let file: String
  /// Cases that were compared.
  public var cases: Int
  /// One text per case that differs.
  public var failures: [String]

  public init(file: String, cases: Int = 0, failures: [String] = []) {
    self.file = file
    self.cases = cases
    self.failures = failures
  }
}
