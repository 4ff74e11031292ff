import Support
import Tensor

/// What the flags say about the optimizer.
public struct OptimizerOptions: Sendable {
  public var rule = UpdateRule.adamW()
  /// ZeRO-1: each data-parallel rank owns a shard of the states (`use_distributed_optimizer`).
  public var isDistributed = true
  /// States in the types below; bf16 weights keep their master as a 16-bit remainder.
  public var isPrecisionAware = false
  /// fp32 or fp16 (`main_params_dtype`).
  public var mainParameterType = DType.float32
  /// fp32 or bf16 (`main_grads_dtype`).
  public var mainGradientType = DType.float32
  /// In which type gradients travel between data-parallel ranks, fp32 or bf16 (`reduce_dtype`).
  /// bf16 rounds every rank's summand once, so results then depend on the layout.
  public var exchangeType = DType.float32
  public var firstMomentType = StateType.float32
  public var secondMomentType = StateType.float32
  /// fp16 training: fp32 weights hold fp16 values, their masters are kept apart in fp32.
  public var roundsWeightsToHalf = false
  /// N of `canonical_batch_chunks`; 1 gives no promise over data-parallel sizes.
  public var canonicalChunks = 1
  /// Data-parallel ranks whose rows meet in an expert of this rank, when canonical chunks ask for
  /// separate sums; a power of two, 1 otherwise.
  public var expertLanes = 1
  /// Elements after which a bucket is closed; nil makes one bucket per buffer.
  public var bucketSize: Int?
  /// A bucket is reduced as soon as its gradients are complete (`overlap_grad_reduce`).
  public var overlapsReduction = false
  /// Weights are gathered while the next forward pass goes on (`overlap_param_gather`).
  public var overlapsGather = false
  public var offload: OffloadOptions?
  public init() {}

  /// Refuses options that exclude each other, in the reference's order.
  /// - Throws: `OPTIM-102` naming the flag.
  public func validate() throws(Fault) {
    var isAdam = false
    if case .adamW = rule { isAdam = true }
    if isPrecisionAware, !isAdam || !isDistributed {
      throw OptimizerOptions.refusal(
        "use_precision_aware_optimizer", "it needs the distributed optimizer and adam",
        "add optimizer adam and use_distributed_optimizer true")
    }
    if offload != nil, !isPrecisionAware {
      throw OptimizerOptions.refusal(
        "optimizer_cpu_offload", "it needs the precision-aware optimizer",
        "add use_precision_aware_optimizer true")
    }
    if overlapsGather, !isDistributed || !overlapsReduction {
      throw OptimizerOptions.refusal(
        "overlap_param_gather", "it needs the distributed optimizer and overlapped reduction",
        "add use_distributed_optimizer true and overlap_grad_reduce true")
    }
    try validateTypes()
    try validateOffload()
    try validateRule()
  }

  private static func refusal(_ flag: String, _ message: String, _ fix: String) -> Fault {
    Fault(.optimizerRefused, message, at: .flag(flag), fix: fix)
  }

  private func validateTypes() throws(Fault) {
    let types: [(flag: String, isPlain: Bool)] = [
      ("main_params_dtype", mainParameterType == .float32),
      ("main_grads_dtype", mainGradientType == .float32),
      ("exp_avg_dtype", firstMomentType == .float32),
      ("exp_avg_sq_dtype", secondMomentType == .float32),
    ]
    for (flag, isPlain) in types where !isPlain && !isPrecisionAware {
      throw OptimizerOptions.refusal(
        flag, "types other than fp32 need the precision-aware optimizer",
        "add use_precision_aware_optimizer true")
    }
    guard mainParameterType == .float32 || mainParameterType == .float16 else {
      throw OptimizerOptions.refusal(
        "main_params_dtype", "\(mainParameterType.rawValue) is no type for it", "use fp32 or fp16")
    }
    guard mainGradientType == .float32 || mainGradientType == .bfloat16 else {
      throw OptimizerOptions.refusal(
        "main_grads_dtype", "\(mainGradientType.rawValue) is no type for it", "use fp32 or bf16")
    }
  }

  private func validateOffload() throws(Fault) {
    guard let offload else { return }
    guard offload.fraction >= 0, offload.fraction <= 1 else {
      throw OptimizerOptions.refusal(
        "optimizer_offload_fraction", "\(offload.fraction) is no part", "give 0 to 1")
    }
    let block = offload.blockElements
    guard 1...StateStore.blockElements ~= block, block % 64 == 0 else {
      throw OptimizerOptions.refusal(
        "optimizer_cpu_offload", "a block of \(block) elements cannot be streamed",
        "use a multiple of 64, at most \(StateStore.blockElements)")
    }
  }

  private func validateRule() throws(Fault) {
    func check(_ flag: String, _ value: Double, _ accepted: Bool, _ expected: String) throws(Fault)
    {
      guard accepted else {
        throw Fault(
          .optimizerRefused, "\(value) is out of range", at: .flag(flag), expected: expected)
      }
    }
    switch rule {
    case .adamW(let beta1, let beta2, let epsilon):
      try check("adam_beta1", beta1, beta1 >= 0 && beta1 < 1, "0 to below 1")
      try check("adam_beta2", beta2, beta2 >= 0 && beta2 < 1, "0 to below 1")
      try check("adam_eps", epsilon, epsilon >= 0 && epsilon.isFinite, "0 or above")
    case .sgd(let momentum):
      try check("sgd_momentum", momentum, momentum >= 0 && momentum < 1, "0 to below 1")
    }
  }

  /// How the states of weights of `type` are stored.
  /// - Throws: `OPTIM-102` for weights that are neither fp32 nor bf16.
  public func format(weights type: DType) throws(Fault) -> StateFormat {
    guard type == .float32 || type == .bfloat16 else {
      throw Fault(
        .optimizerRefused, "weights of type \(type.rawValue) cannot be trained",
        at: .flag("torch_dtype"), expected: "bfloat16 or float32")
    }
    let master: MasterType
    if mainParameterType == .float16 {
      master = .float16
    } else if type == .float32 {
      master = roundsWeightsToHalf ? .float32 : .weight
    } else {
      master = isPrecisionAware ? .remainder : .float32
    }
    if case .sgd = rule { return StateFormat(master: master, first: .float32, second: nil) }
    return StateFormat(master: master, first: firstMomentType, second: secondMomentType)
  }
}

/// What one step is made with.
public struct StepInput: Sendable {
  /// From 1; for messages.
  public var iteration: Int
  /// Of the schedule, before the groups' factors.
  public var learningRate: Double
  public var weightDecay: Double
  /// Largest global norm; 0 clips nothing.
  public var clip: Double
  /// Multiplies every reduced gradient first: 1/N, or one over the loss scale.
  public var gradientScale: Double
  public var policy: StepPolicy

  public init(
    iteration: Int, learningRate: Double, weightDecay: Double = 0, clip: Double = 0,
    gradientScale: Double = 1, policy: StepPolicy = .stop
  ) {
    self.iteration = iteration
    self.learningRate = learningRate
    self.weightDecay = weightDecay
    self.clip = clip
    self.gradientScale = gradientScale
    self.policy = policy
  }
}

/// What one step did; the same on all ranks.
public struct StepResult: Sendable, Equatable {
  /// Global norm of the scaled gradients before clipping; NaN or infinite if a gradient is.
  public let gradientNorm: Double
  /// What clipping multiplied gradients by, 1 if it did nothing.
  public let clipFactor: Double
  /// Nothing was changed: a gradient overflowed.
  public let isSkipped: Bool
  /// Updates so far, this one included unless skipped.
  public let step: Int
}

/// Bytes of one rank's optimizer, for the report and the planner.
public struct OptimizerBytes: Sendable, Equatable {
  /// Flat gradients, buffers of canonical chunks included.
  public var gradients = 0
  /// States and scratch in near memory.
  public var near = 0
  /// States in the far tier.
  public var far = 0
}
