/// The outcome of comparing one golden file.
public struct GoldenReport: Sendable, Equatable {
  /// Name of the golden file.
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

  public var passed: Bool { failures.isEmpty && cases > 0 }

  /// `tokenize.json: 367 of 367 equal`.
  public var summary: String { "\(file): \(cases - failures.count) of \(cases) equal" }
}
