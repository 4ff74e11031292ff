import Support

/// Comparison of this program with stored results of a reference.
public struct ParityFlags: Sendable {
  public var golden: [String] = []
  public var run: [String] = []
  /// Folder of the adapter whose results are stored.
  public var adapters: String?
  public var output: String?
  public var dataGolden: String?
  public var dataRoot: String?
  public var tokenizer: String?

  public init() {}

  static let rows: [Option<ParityFlags>] = [
    .init(\.golden, "golden", "Stored inputs and results of the model."),
    .init(
      \.run, "run", "Parts to compare: forward, backward, generate, training …; all without it."),
    Option(\.adapters, "adapters", "Adapter on the model; --golden then holds results with it.")
      .path(),
    Option(\.output, "output", "File or folder for the report.").path(),
    Option(\.dataGolden, "data_golden", "Folder with stored results of the data pipeline.").path(),
    Option(\.dataRoot, "data_root", "Folder the stored data cases are relative to.").path(),
    Option(\.tokenizer, "tokenizer", "Folder with the tokenizer of the data cases.").path(),
  ].under(.parity)
}
