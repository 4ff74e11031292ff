import Support

/// Which model, and in which type.
public struct ModelFlags: Sendable {
  /// Type of weights and activations.
  public enum TorchDType: String, OptionChoice { case bfloat16, float16, float32 }

  public var model: String?
  public var modelType: String?
  public var modelRevision: String?
  /// nil: that of `config.json`.
  public var torchDType: TorchDType?
  public var useHF = false
  public var ropeScaling: TextOrJSON?
  /// Longest text the model shall reach; what `ropeScaling` without a factor is computed from.
  public var maxModelLength: Int?
  public var modelKwargs: JSONValue?
  /// As on the command line; nil: see `hubTokenFile`, else the environment.
  public var hubToken: String?
  public var hubTokenFile: String?

  public init() {}

  /// The token that was given, not that of the environment.
  /// - Throws: `FILE-001`, `FILE-005`.
  func token() throws(Fault) -> Secret? {
    if let hubToken {
      guard let secret = Secret(hubToken) else {
        throw Fault(.badOptionValue, "a token has no blanks inside", at: .flag("hub_token"))
      }
      return secret
    }
    return try hubTokenFile.map { (path) throws(Fault) in try Secret(file: path) }
  }

  static let rows: [Option<ModelFlags>] = [
    .init(
      \.model, "model",
      "Folder of a published model (config.json, safetensors, tokenizer), or its id in a hub."),
    Option(\.modelType, "model_type", "Kind of model, where its name does not tell.").unset(
      "from the model folder"),
    Option(\.torchDType, "torch_dtype", "Type of weights and activations.").unset(
      "from config.json"),
    Option(
      \.useHF, "use_hf", "Ids are those of Hugging Face, not of ModelScope."
    )
    .environment("USE_HF"),
    Option(\.modelRevision, "model_revision", "Branch, tag or commit in the hub.").unset(
      "the main branch"),
    Option(recorded: "local_repo_path", .text, "Source folder of some models.")
      .noEffect("no model here needs one"),
    Option(\.hubToken, "hub_token", "Access token of the hub; prefer --hub_token_file.")
      .unset("HF_TOKEN or MODELSCOPE_API_TOKEN").secret(),
    Option(\.hubTokenFile, "hub_token_file", "File of mode 0600 with the access token.").path(),
    Option(
      \.ropeScaling, "rope_scaling",
      "Stretches the rotary positions: linear or yarn with --max_model_len, or the object of "
        + "config.json, which it replaces."
    ).unset("from config.json"),
  ].under(.model)

  /// Options of the reference's base set that mean nothing here.
  static let inertRows: [Option<ModelFlags>] = [
    Option(recorded: "local_rank", .int, "Rank on the node.").noEffect("MPI knows the rank"),
    Option(recorded: "device_map", .textOrJSON, "Devices of the layers.").noEffect(
      "there is one device"),
    Option(recorded: "max_memory", .json, "Memory per device.").noEffect("there is one device"),
    .init(
      \.modelKwargs, "model_kwargs",
      "Settings of picture and clip reading, such as {\"fps_max_frames\": 12}; they win over the "
        + "environment."),
    Option(
      recorded: "padding_side", .choice(["left", "right"]), .text("right"), "Side of padding."
    )
    .noEffect("padding follows from the task"),
    Option(recorded: "init_strategy", .text, "Initialisation of missing weights.").noEffect(
      "every weight must be there"),
    Option(
      recorded: "ignore_args_error", .bool, .bool(false),
      "Warn about unknown options instead of stopping."),
    Option(recorded: "quant_method", .text, "Quantisation.").refused(
      "quantised models are not supported"),
    Option(recorded: "quant_bits", .int, "Quantisation.").refused(
      "quantised models are not supported"),
    Option(recorded: "hqq_axis", .int, "Quantisation.").refused(
      "quantised models are not supported"),
    Option(recorded: "bnb_4bit_compute_dtype", .text, "Quantisation.").refused(
      "quantised models are not supported"),
    Option(recorded: "bnb_4bit_quant_type", .text, .text("nf4"), "Quantisation.").noEffect(
      "quantised models are not supported"),
    Option(recorded: "bnb_4bit_use_double_quant", .bool, .bool(true), "Quantisation.").noEffect(
      "quantised models are not supported"),
    Option(recorded: "bnb_4bit_quant_storage", .text, "Quantisation.").noEffect(
      "quantised models are not supported"),
    Option(
      recorded: "ckpt_dir", .text,
      "Old spelling: one more of --adapters with adapter_config.json in the folder, else --model."),
    Option(
      recorded: "lora_modules", .list, .list([]), "Old spelling: further folders of --adapters."),
    Option(
      \.maxModelLength, "max_model_len",
      "Longest text --rope_scaling shall reach; rows are limited by --max_length."
    ).unset("from config.json").atLeast(1),
  ].under(.inert)
}
