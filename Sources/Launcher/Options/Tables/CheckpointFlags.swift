import Support

/// Where weights and state come from and where they go.
public struct CheckpointFlags: Sendable {
  /// Layout of checkpoint folders.
  public enum Format: String, OptionChoice {
    case torchDist = "torch_dist"
    case torch, zarr
  }
  /// What happens when the newest checkpoint is damaged.
  public enum OnCorrupt: String, OptionChoice { case stop, previous }

  public var load: String?
  public var finetune = false
  /// nil: `megatron_output/<model name>`; the folder of the run is made below it.
  public var save: String?
  public var addVersion = true
  public var saveInterval = 500
  public var noSaveOptim = false
  public var noSaveRNG = false
  public var noLoadOptim = false
  public var noLoadRNG = false
  public var format = Format.torchDist
  public var noInitialization = true
  public var asyncSave = false
  public var saveTotalLimit: Int?
  public var saveSafetensors = false
  public var expertOrder = ExpertOrder.published
  public var paddedVocabSize: Int?
  public var loadArgs = false
  public var exitOnMissing = true
  public var teExtraState = true
  public var teExtraStateForm = MegatronObjects.Form.empty
  public var onCorrupt = OnCorrupt.stop

  public init() {}

  static let rows: [Option<CheckpointFlags>] = [
    Option(\.load, "load", "Megatron checkpoint to begin from.").path(),
    .init(\.finetune, "finetune", "Take the weights only and begin at iteration 0."),
    Option(\.save, "save", "Folder for the runs.").unset("megatron_output/<model name>").path(),
    .init(\.addVersion, "add_version", "Make a folder v<N>-<time> below --save for each run."),
    Option(\.saveInterval, "save_interval", "Iterations between checkpoints.").atLeast(1),
    .init(\.noSaveOptim, "no_save_optim", "Leave optimizer and schedule out of checkpoints."),
    .init(
      \.noSaveRNG, "no_save_rng",
      "Leave the random state (the seed) out of checkpoints; going on needs --no_load_rng true then."
    ),
    .init(\.noLoadOptim, "no_load_optim", "Do not read optimizer and schedule."),
    .init(
      \.noLoadRNG, "no_load_rng", "Do not read the random state: random numbers follow from --seed."
    ),
    Option(\.format, "ckpt_format", "Layout of checkpoints.")
      .refusing(["torch", "zarr"], "only torch_dist is read and written"),
    .init(
      \.noInitialization, "no_initialization",
      "Weights come from a checkpoint; false draws them at random."),
    Option(\.saveTotalLimit, "save_total_limit", "Keep this many newest checkpoints.").unset("all")
      .atLeast(1),
    .init(
      \.saveSafetensors, "save_safetensors",
      "Also write a complete published model at each save, iter_<number>-hf beside the checkpoint."),
    Option(
      \.paddedVocabSize, "padded_vocab_size",
      "Rows of the embedding; more than config.json has need random weights."
    ).unset("vocab_size of config.json").atLeast(1),
    .init(\.loadArgs, "load_args", "Restore settings from the args.json of --load."),
    Option(
      recorded: "auto_detect_ckpt_format", .bool, .bool(true), "Recognise the layout of --load."
    )
    .noEffect("the layout is always recognised"),
    .init(
      \.exitOnMissing, "exit_on_missing_checkpoint",
      "Stop when --load holds no checkpoint; false begins without one."),
    Option(recorded: "use_cpu_initialization", .bool, .bool(false), "Draw weights on the CPU.")
      .noEffect("that is always so"),
    .init(
      \.asyncSave, "async_save",
      "Copy what is saved and write it in the background, one checkpoint at a time."),
    Option(recorded: "extra_megatron_kwargs", .json, "Further Megatron options: {name: value}."),
    Option(
      recorded: "load_data_args", .bool, .bool(false), "Restore the data options from args.json."
    )
    .group(.inert).noEffect("it is an option of export and infer"),
  ].under(.checkpoint)

  static let ownRows: [Option<CheckpointFlags>] = [
    .init(
      \.teExtraState, "te_extra_state",
      "Write the empty _extra_state entries that the reference expects."),
    .init(
      \.teExtraStateForm, "te_extra_state_form",
      "What these entries hold: nothing, or a pickled None in modules with a matrix, for Transformer "
        + "Engine 2.0 to 2.3."),
    .init(
      \.expertOrder, "hf_expert_layout",
      "Order of the experts of Qwen3-VL-MoE in published folders: as published, or as transformers 5 writes it."
    ),
    .init(
      \.onCorrupt, "on_corrupt",
      "A damaged newest checkpoint: stop, or take the previous complete one."),
  ].under(.own)
}
