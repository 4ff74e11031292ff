import Support

/// The flags of `swift sft`, which spell the same run in another way.
public struct SwiftFormFlags: Sendable {
  /// When something is done.
  public enum Strategy: String, OptionChoice { case steps, epoch, no }

  /// One of these makes the whole line be read in this form.
  static let marks = [
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
    "learning_rate", "warmup_ratio", "gradient_checkpointing", "deepspeed",
  ]

  /// Two spellings of one quantity, the Megatron one first.
  static let pairs = [
    ("micro_batch_size", "per_device_train_batch_size"),
    ("global_batch_size", "gradient_accumulation_steps"), ("lr", "learning_rate"),
    ("lr_warmup_fraction", "warmup_ratio"), ("lr_warmup_iters", "warmup_ratio"),
    ("max_epochs", "num_train_epochs"), ("train_iters", "max_steps"), ("save", "output_dir"),
    ("save_interval", "save_steps"), ("eval_interval", "eval_steps"),
    ("log_interval", "logging_steps"), ("clip_grad", "max_grad_norm"),
    ("lr_decay_style", "lr_scheduler_type"), ("num_workers", "dataloader_num_workers"),
    ("moe_aux_loss_coeff", "router_aux_loss_coef"), ("load", "resume_from_checkpoint"),
    ("no_save_optim", "save_only_model"), ("recompute_granularity", "gradient_checkpointing"),
    ("use_distributed_optimizer", "deepspeed"),
  ]

  /// Names of `lr_scheduler_type` and their shape.
  static let schedulers: [String: ScheduleFlags.DecayStyle] = [
    "cosine": .cosine, "linear": .linear, "constant": .constant, "constant_with_warmup": .constant,
  ]

  public var perDeviceTrainBatchSize = 1
  public var perDeviceEvalBatchSize = 1
  /// nil: max(1, ceil(16 / (batch · world))).
  public var gradientAccumulationSteps: Int?
  public var learningRate: Double?
  public var numTrainEpochs = 3.0
  public var maxSteps = -1
  public var warmupRatio = 0.0
  public var lrSchedulerType = "cosine"
  public var maxGradNorm = 1.0
  public var gradientCheckpointing = true
  public var visionGradientCheckpointing: Bool?
  public var evalSteps: Int?
  public var saveSteps = 500
  public var saveStrategy = Strategy.steps
  public var evalStrategy = Strategy.steps
  public var loggingSteps = 5
  public var outputDir: String?
  public var deepspeed: String?
  public var dataloaderNumWorkers: Int?
  public var resumeFromCheckpoint: String?
  public var routerAuxLossCoef = 0.0
  public var saveOnlyModel = false
  public var reportTo = ["tensorboard"]
  public var createCheckpointSymlink = false
  public var trainDataloaderShuffle = true

  public init() {}

  static let rows: [Option<SwiftFormFlags>] = [
    Option(
      \.perDeviceTrainBatchSize, "per_device_train_batch_size", "Rows per rank and forward pass."
    ).atLeast(1),
    Option(
      \.perDeviceEvalBatchSize, "per_device_eval_batch_size", "Rows per rank in an evaluation."
    ).atLeast(1),
    Option(\.gradientAccumulationSteps, "gradient_accumulation_steps", "Forward passes per step.")
      .unset("ceil(16 / (batch · ranks))").atLeast(1),
    Option(\.learningRate, "learning_rate", "Peak learning rate.").unset(
      "1e-4 for lora, 1e-5 for full"
    ).atLeast(0.0),
    Option(\.numTrainEpochs, "num_train_epochs", "Passes over the training data.").atLeast(0.0),
    Option(\.maxSteps, "max_steps", "Optimizer steps; -1 follows the epochs.").atLeast(-1),
    Option(\.warmupRatio, "warmup_ratio", "Warm-up as a part of all steps.").between(0, 1),
    Option(\.lrSchedulerType, "lr_scheduler_type", "Shape of the learning rate after warm-up.")
      .oneOf(schedulers.keys.sorted()),
    Option(\.maxGradNorm, "max_grad_norm", "Largest global gradient norm; 0 does not clip.")
      .atLeast(0.0),
    .init(\.gradientCheckpointing, "gradient_checkpointing", "Recompute every layer."),
    Option(\.evalSteps, "eval_steps", "Steps between evaluations.").unset("save_steps").atLeast(1),
    Option(\.saveSteps, "save_steps", "Steps between checkpoints.").atLeast(1),
    .init(
      \.saveStrategy, "save_strategy",
      "When to save: every save_steps, after each epoch, or the last checkpoint only."),
    .init(
      \.evalStrategy, "eval_strategy",
      "When to evaluate: every eval_steps, after each epoch, never."),
    Option(\.loggingSteps, "logging_steps", "Steps between log lines.").atLeast(1),
    Option(\.outputDir, "output_dir", "Folder for the runs.").unset("output/<model name>").path(),
    Option(
      \.deepspeed, "deepspeed",
      "zero0 to zero3 (or a JSON file): zero0 keeps the optimizer state whole, the others split it."
    ),
    Option(\.dataloaderNumWorkers, "dataloader_num_workers", "Threads that prepare batches.").unset(
      "1"
    ).atLeast(0),
    Option(\.resumeFromCheckpoint, "resume_from_checkpoint", "Checkpoint to go on from.").path(),
    Option(\.routerAuxLossCoef, "router_aux_loss_coef", "Weight of the load-balancing loss.")
      .atLeast(0.0),
    .init(\.saveOnlyModel, "save_only_model", "Leave the optimizer out of checkpoints."),
    .init(\.reportTo, "report_to", "Where curves go; tensorboard, all or none."),
    Option(
      \.createCheckpointSymlink, "create_checkpoint_symlink",
      "Links to the last and the best checkpoint."
    ).noEffect("the tracker file names the last checkpoint"),
    .init(\.trainDataloaderShuffle, "train_dataloader_shuffle", "Draw rows in random order."),
    Option(recorded: "metric_for_best_model", .text, "Measure of the best checkpoint.")
      .noEffect("the best checkpoint is the one with the lowest evaluation loss"),
    Option(
      \.visionGradientCheckpointing, "vit_gradient_checkpointing",
      "Recompute the blocks of a trained vision tower."
    ).unset("gradient_checkpointing"),
  ].under(.swiftForm)

  /// Rows that the Megatron form takes over without effect.
  static let megatronFormRows: [Option<SwiftFormFlags>] = [
    Option(recorded: "metric_for_best_model", .text, "Measure of the best checkpoint.")
      .noEffect("no best checkpoint is kept"),
    Option(recorded: "create_checkpoint_symlink", .bool, .bool(false), "Links to checkpoints.")
      .noEffect("the tracker file names the last checkpoint"),
    Option(
      recorded: "save_strategy", .choice(["steps", "epoch", "no"]), .text("steps"), "When to save."
    )
    .noEffect("--save_interval counts"),
  ].under(.inert)
}
