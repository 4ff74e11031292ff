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

/// Measurement of this machine.
public struct BenchFlags: Sendable {
  /// What can be measured.
  public static let knownKinds = [
    "peak", "gemm", "grouped", "attention", "ops", "optimizer", "collectives", "step", "data",
    "generate", "all",
  ]

  public var kinds = ["all"]
  public var output: String?
  public var seconds = 1.0
  public var repeats = 5
  public var sizes: [String] = []
  public var steps = 5
  public var sequenceLength = 1024
  public var microBatchSize = 1
  /// Part of the tokens that have a label.
  public var trained = 1.0

  public init() {}

  static let rows: [Option<BenchFlags>] = [
    Option(\.kinds, "kinds", "What to measure: \(knownKinds.joined(separator: ", ")).").check {
      guard case .list(let words) = $0, let bad = words.first(where: { !knownKinds.contains($0) })
      else { return nil }
      return "\"\(bad)\" is not one of \(knownKinds.joined(separator: ", "))"
    },
    Option(\.output, "output", "File for the JSON lines; standard output without it.").path(),
    Option(\.seconds, "seconds", "Time for each measurement.").atLeast(0.0),
    Option(\.repeats, "repeats", "Measurements of which the median is given.").atLeast(1),
    .init(\.sizes, "sizes", "Sizes to measure; each kind has its own when none is given."),
    Option(\.steps, "steps", "Training steps to measure.").atLeast(1),
    Option(\.sequenceLength, "seq_length", "Tokens of a row.").atLeast(1),
    Option(\.microBatchSize, "micro_batch_size", "Rows of a forward pass.").atLeast(1),
    Option(\.trained, "trained", "Part of the tokens that have a label.").between(0, 1),
  ].under(.bench)
}
