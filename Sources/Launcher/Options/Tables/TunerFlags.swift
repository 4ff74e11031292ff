import Support

/// Which weights are trained.
public struct TunerFlags: Sendable {
  public enum TrainType: String, OptionChoice { case full, lora }

  static let noAdapters = "adapters (LoRA) are not trained yet; use --train_type full"

  public var trainType = TrainType.full
  public var freezeLLM = false
  public var freezeVision = true
  public var freezeAligner = true
  public var freezeParameters: [String] = []
  public var freezeParametersRegex: String?
  public var freezeParametersRatio = 0.0
  public var trainableParameters: [String] = []
  public var trainableParametersRegex: String?

  public init() {}

  static let rows: [Option<TunerFlags>] = [
    Option(\.trainType, "train_type", "All weights, or adapters.").refusing(["lora"], noAdapters),
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
    Option(recorded: "adapters", .list, .list([]), "Adapters to begin from.").refused(noAdapters),
    Option(recorded: "adapter_load", .text, "Adapter checkpoint to go on from.").path().refused(
      noAdapters),
    Option(recorded: "target_modules", .list, .list(["all-linear"]), "Modules with adapters.")
      .refused(noAdapters),
    Option(recorded: "target_regex", .text, "Modules with adapters.").refused(noAdapters),
    Option(recorded: "modules_to_save", .list, .list([]), "Modules trained beside adapters.")
      .refused(noAdapters),
    Option(recorded: "lora_rank", .int, .int(8), "Rank of the adapters.").refused(noAdapters),
    Option(recorded: "lora_alpha", .int, .int(32), "Scale of the adapters.").refused(noAdapters),
    Option(recorded: "use_rslora", .bool, .bool(false), "Scale by the root of the rank.").refused(
      noAdapters),
    Option(recorded: "lora_dropout", .float, .float(0.05), "Dropout of the adapters.").refused(
      noAdapters),
    Option(
      recorded: "lora_bias", .choice(["none", "all"]), .text("none"),
      "Biases trained beside adapters."
    ).refused(noAdapters),
    Option(
      recorded: "lora_dtype", .choice(["float16", "bfloat16", "float32"]), "Type of the adapters."
    ).refused(noAdapters),
    Option(recorded: "tuner_backend", .text, .text("peft"), "Adapter library.").group(.inert)
      .noEffect("adapters are not trained yet"),
    Option(recorded: "use_swift_lora", .bool, .bool(false), "Adapter library.").group(.inert)
      .noEffect("adapters are not trained yet"),
  ].under(.tuner)
}
