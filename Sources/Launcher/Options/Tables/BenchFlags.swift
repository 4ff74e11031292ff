/// Measurement of this machine.
public struct BenchFlags: Sendable {
  /// What can be measured.
  public static let knownKinds = [
    "peak", "gemm", "grouped", "attention", "ops", "optimizer", "collectives", "step", "data",
    "generate", "all",
  ]

  public var kinds = ["all"]
  public var output: String?
  public var table: String?
  public var seconds = 1.0
  public var repeats = 5
  public var m: Int?
  public var n: Int?
  public var k: Int?
  public var experts = 32
  public var rows = 32
  public var lengths: [String] = []
  public var heads = 16
  public var groups = 2
  public var headSize = 128
  public var steps = 5
  public var sequenceLength = 2048
  public var microBatchSize = 1
  /// Rank of adapters on the frozen model; nil trains whole weights.
  public var loraRank: Int?
  /// Part of the tokens that have a label.
  public var trained = 1.0
  /// What the data pipeline is measured with.
  public var files: [String] = []
  public var tokenizer: String?

  public init() {}

  static let rows: [Option<BenchFlags>] = [
    Option(\.kinds, "kinds", "What to measure: \(knownKinds.joined(separator: ", ")).").check {
      guard case .list(let words) = $0, let bad = words.first(where: { !knownKinds.contains($0) })
      else { return nil }
      return "\"\(bad)\" is not one of \(knownKinds.joined(separator: ", "))"
    },
    Option(\.output, "output", "File for the JSON lines; standard output without it.").path(),
    Option(
      \.table, "table",
      "Markdown file whose part between the lines of the measured table is replaced (all)."
    ).path().unset("docs/performance.md where there is one"),
    Option(\.seconds, "seconds", "Time for each measurement.").atLeast(0.0),
    Option(\.repeats, "repeats", "Fewest repetitions of a measurement.").atLeast(1),
    Option(\.m, "m", "Rows of the input (gemm).").unset("several shapes").atLeast(1),
    Option(\.n, "n", "Outputs of the layer (gemm, grouped).").unset("several shapes").atLeast(1),
    Option(\.k, "k", "Inputs of the layer (gemm, grouped).").unset("several shapes").atLeast(1),
    Option(\.experts, "experts", "Experts (grouped).").atLeast(1),
    Option(\.rows, "rows", "Rows of each expert (grouped).").atLeast(1),
    Option(\.lengths, "lengths", "Tokens of each document, with commas (attention).")
      .unset("1024, 4096 and 4 x 1024").check {
        guard case .list(let words) = $0 else { return nil }
        return lengths(words) == nil ? "expected counts such as 1536,512" : nil
      },
    Option(\.heads, "heads", "Query heads (attention).").atLeast(1),
    Option(\.groups, "kv_heads", "Key and value heads (attention).").atLeast(1),
    Option(\.headSize, "head_dim", "Elements of a head (attention).").check {
      guard case .int(let d) = $0, d < 4 || d > 256 || d % 4 != 0 else { return nil }
      return "must be a multiple of 4 from 4 to 256, got \(d)"
    },
    Option(\.steps, "steps", "Training steps to measure.").atLeast(1),
    Option(\.sequenceLength, "seq", "Tokens of a row (step).").atLeast(1),
    Option(\.microBatchSize, "micro_batch", "Rows of a forward pass (step).").atLeast(1),
    Option(\.loraRank, "lora_rank", "Adapters of this rank on the frozen model (step).")
      .unset("whole weights are trained").atLeast(1),
    .init(\.files, "files", "Pictures, clips and texts (data)."),
    Option(\.tokenizer, "tokenizer", "Folder with the tokenizer for texts (data).").path(),
    Option(\.trained, "trained", "Part of the tokens that have a label (step).").between(0, 1),
  ].under(.bench)

  /// Reads `1536,512` or `1536 512`; nil where something is no positive number.
  static func lengths(_ words: [String]) -> [Int]? {
    var lengths: [Int] = []
    for part in words.flatMap({ $0.split(separator: ",") }) {
      guard let length = Int(part), length > 0, length <= 1 << 24 else { return nil }
      lengths.append(length)
    }
    return lengths
  }
}
