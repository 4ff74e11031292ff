import Support

/// Drawing text from a model.
public struct GenerationFlags: Sendable {
  public enum Metric: String, OptionChoice { case acc, rouge }

  /// `[HOST:]PORT` to answer at over HTTP.
  public var serve: String?
  /// Folder with a Megatron checkpoint whose weights generate.
  public var mcoreModel: String?
  public var adapters: [String] = []
  public var mergeLora = false
  public var loadArgs = true
  public var loadDataArgs = false
  /// nil: true when interactive.
  public var stream: Bool?
  public var maxNewTokens: Int?
  public var temperature: Double?
  public var topK: Int?
  public var topP: Double?
  public var repetitionPenalty: Double?
  public var stopWords: [String] = []
  public var seed = 42
  public var valDatasetSample: Int?
  public var resultPath: String?
  public var maxBatchSize = 1
  public var writeBatchSize = 1000
  public var metric: Metric?
  public var logprobs = false
  public var topLogprobs: Int?
  public var maxModelLen: Int?

  public init() {}

  static let rows: [Option<GenerationFlags>] = [
    .init(\.loadArgs, "load_args", "Restore settings from the args.json of the model or adapter."),
    .init(
      \.loadDataArgs, "load_data_args", "Restore the data options too and use the validation part."),
    Option(\.stream, "stream", "Print text while it is made.").unset("true when interactive"),
    Option(\.maxNewTokens, "max_new_tokens", "Most tokens of an answer.").unset(
      "what the model allows"
    ).atLeast(1),
    Option(\.temperature, "temperature", "Spread of the draw; 0 takes the likeliest token.").unset(
      "generation_config.json"
    ).atLeast(0.0),
    Option(\.topK, "top_k", "Draw from this many likeliest tokens.").unset("generation_config.json")
      .atLeast(-1),
    Option(\.topP, "top_p", "Draw from the likeliest tokens up to this probability.").unset(
      "generation_config.json"
    ).between(0, 1),
    Option(\.repetitionPenalty, "repetition_penalty", "Lowers tokens that occurred before.").unset(
      "generation_config.json"
    ).atLeast(0.0),
    Option(recorded: "num_beams", .int, .int(1), "Beams.").atLeast(1).refused(
      "beam search is not built"),
    .init(\.stopWords, "stop_words", "Further texts that end an answer."),
    .init(\.seed, "seed", "Seed of the draw."),
    Option(\.valDatasetSample, "val_dataset_sample", "Use this many rows of the validation data.")
      .atLeast(1),
    Option(\.resultPath, "result_path", "File for the answers (JSON lines, appended).").unset(
      "infer_result/<time>.jsonl"
    ).path(),
    Option(\.maxBatchSize, "max_batch_size", "Prompts at a time; -1 for all.").check {
      guard case .int(let value) = $0, value < 1, value != -1 else { return nil }
      return "must be -1 or at least 1, got \(value)"
    },
    .init(\.writeBatchSize, "write_batch_size", "Answers between writes; 0 or less writes once."),
    Option(\.metric, "metric", "Compare answers with labels: acc counts equal ones.")
      .refusing(["rouge"], "rouge is not computed; the result file has answers and labels"),
    Option(recorded: "infer_backend", .text, .text("pt"), "Engine.")
      .refused("there is one engine, called pt for compatibility"),
    .init(
      \.mergeLora, "merge_lora",
      "Add the adapters to the weights instead of computing them beside them."),
    .init(
      \.adapters, "adapters",
      "Folders of adapters (adapter_config.json); what several of them add is added up."),
    .init(\.logprobs, "logprobs", "Give the log probabilities of the answer."),
    Option(\.topLogprobs, "top_logprobs", "Give those of this many likeliest tokens too.").atLeast(
      0),
    Option(\.maxModelLen, "max_model_len", "Longest text of the model.").unset("from config.json")
      .atLeast(1),
    Option(\.mcoreModel, "mcore_model", "Folder above iter_xxxxxxx whose weights are used.").path(),
    Option(
      \.serve, "serve",
      "Answer over HTTP at [HOST:]PORT; the host is this machine alone without one."
    ).group(.own),
  ].map { $0.spec.group == .own ? $0 : $0.group(.generation) }

  /// The same names in programs that do not generate.
  static let inertRows: [Option<GenerationFlags>] = [
    inert("temperature", .float), inert("top_k", .int), inert("top_p", .float),
    inert("repetition_penalty", .float), inert("max_new_tokens", .int),
    inert("num_beams", .int, .int(1)), inert("stream", .optionalBool),
    inert("stop_words", .list, .list([])), inert("logprobs", .bool, .bool(false)),
    inert("top_logprobs", .int),
  ]

  private static func inert(
    _ name: String, _ kind: OptionKind, _ value: OptionValue = .unset
  ) -> Option<GenerationFlags> {
    Option(recorded: name, kind, value, "Generation.").noEffect("it is an option of megatron-infer")
      .group(.inert)
  }
}
