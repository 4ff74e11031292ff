import Support

/// Which weights are trained.
public struct TunerFlags: Sendable {
  public enum TrainType: String, OptionChoice { case full, lora }

  public enum Bias: String, OptionChoice { case none, all }

  public var trainType = TrainType.full
  public var freezeLLM = false
  public var freezeVision = true
  public var freezeAligner = true
  public var freezeParameters: [String] = []
  public var freezeParametersRegex: String?
  public var freezeParametersRatio = 0.0
  public var trainableParameters: [String] = []
  public var trainableParametersRegex: String?
  public var adapters: [String] = []
  public var adapterLoad: String?
  public var targetModules = ["all-linear"]
  public var targetRegex: String?
  public var modulesToSave: [String] = []
  public var loraRank = 8
  public var loraAlpha = 32
  public var useRSLoRA = false
  public var loraDropout = 0.05
  public var loraBias = Bias.none
  /// nil: fp32.
  public var loraDType: ModelFlags.TorchDType?
  /// `save_safetensors` writes base and adapter as one model.
  public var mergeLoRA = false

  public init() {}

  static let rows: [Option<TunerFlags>] = [
    .init(\.trainType, "train_type", "All weights, or adapters."),
    .init(\.freezeLLM, "freeze_llm", "Freeze the language model."),
    .init(\.freezeVision, "freeze_vit", "Freeze the vision tower, mergers included."),
    .init(
      \.freezeAligner, "freeze_aligner",
      "Freeze the mergers between tower and text model; false trains them in a frozen tower too."),
    .init(\.freezeParameters, "freeze_parameters", "Freeze the weights whose names begin so."),
    .init(
      \.freezeParametersRegex, "freeze_parameters_regex", "Freeze the weights whose names match."),
    Option(
      \.freezeParametersRatio, "freeze_parameters_ratio",
      "Freeze the first weights up to this part of all."
    ).between(0, 1),
    .init(\.trainableParameters, "trainable_parameters", "Train these after all."),
    .init(\.trainableParametersRegex, "trainable_parameters_regex", "Train these after all."),
    .init(\.adapters, "adapters", "Adapter in a PEFT folder to begin from."),
    Option(
      \.adapterLoad, "adapter_load", "Adapter checkpoint to go on from; --load is then its base."
    ).path(),
    .init(
      \.targetModules, "target_modules",
      "Modules with adapters: ends of names, all-linear, all-router or all-embedding."),
    .init(
      \.targetRegex, "target_regex",
      "Modules with adapters: matches whole names, instead of target_modules."),
    .init(\.modulesToSave, "modules_to_save", "Modules trained whole beside adapters."),
    Option(\.loraRank, "lora_rank", "Rank of the adapters.").atLeast(1),
    .init(\.loraAlpha, "lora_alpha", "Scale of the adapters times their rank."),
    .init(\.useRSLoRA, "use_rslora", "Scale by the root of the rank."),
    Option(\.loraDropout, "lora_dropout", "Dropout on the input of the adapters.").between(0, 1),
    .init(
      \.loraBias, "lora_bias", "Biases trained beside adapters; only the vision tower has any."),
    Option(\.loraDType, "lora_dtype", "Type the adapters are held and computed in.")
      .unset("float32").refusing(
        ["float16"], "adapters are held in float32 or bfloat16"),
    Option(
      \.mergeLoRA, "merge_lora",
      "Write base and adapter as one model at every save, where --save_safetensors asks for one."
    ).group(.own),
    Option(recorded: "tuner_backend", .text, .text("peft"), "Adapter library.").group(.inert)
      .noEffect("adapters are this program's own"),
    Option(recorded: "use_swift_lora", .bool, .bool(false), "Adapter library.").group(.inert)
      .noEffect("adapters are this program's own"),
  ].under(.tuner)
}
