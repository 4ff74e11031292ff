/// The outcome of comparing one golden file.
public struct GoldenReport: Sendable {
  /// Name of the golden file.
  public var file: String
  /// How many cases were compared.
  public var cases = 0
  /// One line per case that differs.
  public var failures: [String] = []

  public init(file: String) { self.file = file }

  public var passed: Bool { failures.isEmpty && cases > 0 }

  /// `tokenize.json: 367 of 367 equal`.
  public var summary: String { "\(file): \(cases - failures.count) of \(cases) equal" }
}
