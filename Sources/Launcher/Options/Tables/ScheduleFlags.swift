import Support

/// Batch sizes, length of training, learning rate.
public struct ScheduleFlags: Sendable {
  /// Shape of the learning rate after warm-up.
  public enum DecayStyle: String, OptionChoice {
    case cosine, linear, constant
    case inverseSquareRoot = "inverse-square-root"
    case wsd = "WSD"
  }
  /// Shape of the last part of WSD.
  public enum WSDStyle: String, OptionChoice {
    case exponential, linear, cosine
    case minusSqrt = "minus_sqrt"
  }

  public var microBatchSize = 1
  public var globalBatchSize = 16
  public var maxEpochs: Int?
  public var trainIters: Int?
  /// nil: 1e-5 for full training.
  public var lr: Double?
  /// nil: `lr`.
  public var visionLR: Double?
  /// nil: `lr`.
  public var alignerLR: Double?
  public var minLR = 0.0
  public var lrDecayStyle = DecayStyle.cosine
  /// nil: `trainIters`.
  public var lrDecayIters: Int?
  public var lrWarmupIters = 0
  public var lrWarmupFraction: Double?
  public var lrWSDDecayStyle = WSDStyle.exponential
  public var lrWSDDecayIters: Int?
  public var seed = 42

  public init() {}

  static let rows: [Option<ScheduleFlags>] = [
    Option(
      \.microBatchSize, "micro_batch_size", "Rows (packs) per data-parallel rank and forward pass."
    ).atLeast(1),
    Option(\.globalBatchSize, "global_batch_size", "Rows (packs) per optimizer step.").atLeast(1),
    Option(\.maxEpochs, "max_epochs", "Passes over the training data.").atLeast(1),
    Option(\.trainIters, "train_iters", "Optimizer steps.").unset("from --max_epochs").atLeast(1),
    Option(\.lr, "lr", "Peak learning rate.").unset("1e-5 for full, 1e-4 for lora").atLeast(0.0),
    Option(\.minLR, "min_lr", "Lowest learning rate after warm-up.").atLeast(0.0),
    .init(\.lrDecayStyle, "lr_decay_style", "Shape of the learning rate after warm-up."),
    Option(\.lrDecayIters, "lr_decay_iters", "Steps until --min_lr is reached.").unset(
      "train_iters"
    ).atLeast(1),
    Option(\.lrWarmupIters, "lr_warmup_iters", "Steps of warm-up.").atLeast(0),
    Option(\.lrWarmupFraction, "lr_warmup_fraction", "Warm-up as a part of --lr_decay_iters.")
      .between(0, 1),
    .init(\.lrWSDDecayStyle, "lr_wsd_decay_style", "Shape of the last part of WSD."),
    Option(\.lrWSDDecayIters, "lr_wsd_decay_iters", "Steps of the last part of WSD.").atLeast(1),
    .init(\.seed, "seed", "Seed of random weights and dropout; not of the order of rows."),
    Option(recorded: "deterministic_mode", .bool, .bool(false), "Equal bits in every run.")
      .noEffect("that is always so"),
    Option(\.visionLR, "vit_lr", "Peak learning rate of the vision tower.").unset("lr")
      .atLeast(0.0),
    Option(\.alignerLR, "aligner_lr", "Peak learning rate of the mergers.").unset("lr")
      .atLeast(0.0),
  ].under(.schedule)
}
