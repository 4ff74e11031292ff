import Support

/// The update of the weights and where its state lives.
public struct OptimizerFlags: Sendable {
  public enum Kind: String, OptionChoice { case adam, sgd }
  /// Type of the master weights.
  public enum MasterDType: String, OptionChoice { case fp32, fp16 }
  /// Type of the summed gradients.
  public enum GradientDType: String, OptionChoice { case fp32, bf16 }
  /// Type of a moment in storage.
  public enum MomentDType: String, OptionChoice { case fp32, fp16, bf16, fp8 }

  public var kind = Kind.adam
  public var weightDecay = 0.1
  public var clipGrad = 1.0
  public var adamBeta1 = 0.9
  public var adamBeta2 = 0.95
  public var adamEps = 1e-8
  public var sgdMomentum = 0.9
  public var usePrecisionAware = false
  public var mainParamsDType = MasterDType.fp32
  public var mainGradsDType = GradientDType.fp32
  public var expAvgDType = MomentDType.fp32
  public var expAvgSqDType = MomentDType.fp32
  public var cpuOffload = false
  public var offloadFraction = 1.0
  public var offloadDir: String?
  public var offloadNUMA: Int?
  public var canonicalBatchChunks = 1
  public var reduceDType = GradientDType.fp32

  public init() {}

  static let rows: [Option<OptimizerFlags>] = [
    .init(\.kind, "optimizer", "adam is AdamW with decoupled decay."),
    Option(\.weightDecay, "weight_decay", "Decay of weights, not of norms and biases.").atLeast(
      0.0),
    Option(\.clipGrad, "clip_grad", "Largest global gradient norm; 0 does not clip.").atLeast(0.0),
    Option(\.adamBeta1, "adam_beta1", "Decay of the first moment.").between(0, 1),
    Option(\.adamBeta2, "adam_beta2", "Decay of the second moment.").between(0, 1),
    Option(\.adamEps, "adam_eps", "Added to the root of the second moment.").atLeast(0.0),
    Option(\.sgdMomentum, "sgd_momentum", "Momentum of sgd.").between(0, 1),
    .init(
      \.usePrecisionAware, "use_precision_aware_optimizer",
      "Store optimizer state in the types below."),
    .init(\.mainParamsDType, "main_params_dtype", "Type of the master weights."),
    .init(\.mainGradsDType, "main_grads_dtype", "Type of the summed gradients."),
    .init(\.expAvgDType, "exp_avg_dtype", "Type of the first moment in storage."),
    .init(\.expAvgSqDType, "exp_avg_sq_dtype", "Type of the second moment in storage."),
    .init(
      \.cpuOffload, "optimizer_cpu_offload",
      "Keep a part of the state in the far tier (a file or another NUMA node)."),
    Option(\.offloadFraction, "optimizer_offload_fraction", "Part of the state in the far tier.")
      .between(0, 1),
    Option(
      recorded: "overlap_cpu_optimizer_d2h_h2d", .bool, .bool(false), "Overlap offload copies."
    )
    .noEffect("the far tier is read ahead and written behind anyway"),
    Option(recorded: "pin_cpu_grads", .bool, .bool(true), "Page-locked gradients.").noEffect(
      "there is no device to copy to"),
    Option(recorded: "pin_cpu_params", .bool, .bool(true), "Page-locked weights.").noEffect(
      "there is no device to copy to"),
  ].under(.optimizer)

  static let ownRows: [Option<OptimizerFlags>] = [
    Option(\.offloadDir, "optimizer_offload_dir", "Folder on a local disk for the far tier.").unset(
      "the folder of the run"
    ).path(),
    Option(
      \.offloadNUMA, "optimizer_offload_numa", "NUMA node for the far tier, instead of a folder."
    ).atLeast(0),
    Option(
      \.canonicalBatchChunks, "canonical_batch_chunks",
      "Gradient sums with equal bits for every data-parallel size that divides this."
    ).atLeast(1),
    .init(
      \.reduceDType, "reduce_dtype",
      "Type in which gradients are exchanged; bf16 halves the bytes, and results then depend on the layout."
    ),
  ].under(.own)
}
