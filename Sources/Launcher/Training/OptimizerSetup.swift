import Foundation
import Model
import Optim
import Parallel
import Support
import Tensor

/// From flags to schedule and optimizer.
struct OptimizerSetup {
  let options: TrainingOptions
  let groups: RankGroups
  let engine: Engine
  /// Folder of the run: where the far tier lies unless a flag says otherwise.
  let directory: String
  /// Weights are fp16 values in fp32 memory.
  var isHalf = false

  func schedule(trainIterations: Int) throws(Fault) -> Schedule {
    let flags = options.schedule
    var schedule = ScheduleOptions(
      learningRate: flags.lr ?? 1e-5, trainIterations: trainIterations,
      globalBatchSize: flags.globalBatchSize)
    schedule.minimum = flags.minLR
    schedule.style = .init(rawValue: flags.lrDecayStyle.rawValue) ?? .cosine
    schedule.warmupInit = options.extra.lrWarmupInit
    schedule.warmupIterations = flags.lrWarmupIters
    schedule.warmupFraction = flags.lrWarmupFraction
    if options.form == .swift, let fraction = flags.lrWarmupFraction {
      // A begun step of warm-up is a whole one in this form.
      schedule.warmupIterations = Int((fraction * Double(trainIterations)).rounded(.up))
      schedule.warmupFraction = nil
    }
    schedule.decayIterations = flags.lrDecayIters
    schedule.stableDecayStyle = .init(rawValue: flags.lrWSDDecayStyle.rawValue) ?? .exponential
    schedule.stableDecayIterations = flags.lrWSDDecayIters
    let decay = options.optimizer.weightDecay
    schedule.weightDecayStyle =
      .init(rawValue: options.extra.weightDecayIncrStyle.rawValue) ?? .constant
    schedule.startWeightDecay = options.extra.startWeightDecay ?? decay
    schedule.endWeightDecay = options.extra.endWeightDecay ?? decay
    return try Schedule(schedule)
  }

  func optimizer(_ model: QwenModel) throws(Fault) -> DistributedOptimizer {
    let rates = try PartRates(options.schedule, model.parameters)
    return try DistributedOptimizer(
      OptimizedParameter.trainable(
        model.parameters, tensorRank: groups.tp.rank, expertTensorRank: groups.etp.rank,
        learningRateScale: { rates.scale(of: $0.name) },
        forwardPart: { model.forwardPart(of: $0) }),
      groups: OptimizerGroups(
        dataParallel: groups.dp, expertDataParallel: groups.edp, world: groups.world),
      options: optimizerOptions(), engine: engine)
  }

  private func optimizerOptions() -> OptimizerOptions {
    let flags = options.optimizer
    var result = OptimizerOptions()
    result.rule =
      flags.kind == .sgd
      ? .sgd(momentum: flags.sgdMomentum)
      : .adamW(beta1: flags.adamBeta1, beta2: flags.adamBeta2, epsilon: flags.adamEps)
    result.isDistributed = options.parallel.useDistributedOptimizer
    result.isPrecisionAware = flags.usePrecisionAware
    result.mainParameterType = flags.mainParamsDType == .fp16 ? .float16 : .float32
    result.mainGradientType = flags.mainGradsDType == .bf16 ? .bfloat16 : .float32
    result.exchangeType = flags.reduceDType == .bf16 ? .bfloat16 : .float32
    result.firstMomentType = OptimizerSetup.state(flags.expAvgDType)
    result.secondMomentType = OptimizerSetup.state(flags.expAvgSqDType)
    result.roundsWeightsToHalf = isHalf
    result.canonicalChunks = flags.canonicalBatchChunks
    result.expertLanes = groups.laneCount(canonicalChunks: flags.canonicalBatchChunks)
    if options.parallel.overlapGradReduce {
      result.bucketSize =
        options.extra.bucketSize ?? max(40_000_000, 1_000_000 * groups.dp.size)
    }
    result.overlapsReduction = options.parallel.overlapGradReduce
    result.overlapsGather = options.parallel.overlapParamGather
    if flags.cpuOffload {
      let folder = flags.offloadDir ?? directory
      result.offload = OffloadOptions(
        fraction: flags.offloadFraction,
        tier: flags.offloadNUMA.map { .numaNode($0) } ?? .folder(folder))
    }
    return result
  }

  private static func state(_ type: OptimizerFlags.MomentDType) -> StateType {
    switch type {
    case .fp32: return .float32
    case .bf16: return .bfloat16
    case .fp16: return .float16
    case .fp8: return .float8
    }
  }
}

/// Peak learning rates of the parts of a model (`--vit_lr`, `--aligner_lr`), as factors on `--lr`.
private struct PartRates {
  private let vision: Double
  private let aligner: Double

  /// - Throws: `OPT-103` for a model without a tower, or when `--lr` is 0.
  init(_ flags: ScheduleFlags, _ parameters: [Parameter]) throws(Fault) {
    let lr = flags.lr ?? 1e-5
    vision = flags.visionLR.map { $0 / lr } ?? 1
    aligner = flags.alignerLR.map { $0 / lr } ?? 1
    let name = flags.visionLR != nil ? "vit_lr" : flags.alignerLR != nil ? "aligner_lr" : nil
    guard let name else { return }
    guard lr > 0 else {
      throw Fault(
        .optionsDisagree, "--\(name) needs a --lr above 0: the schedule is that of --lr",
        at: .flag(name))
    }
    guard parameters.contains(where: { ModelPart($0.name) != .text }) else {
      throw Fault(
        .optionsDisagree, "--\(name): the model has no vision tower", at: .flag(name),
        fix: "leave it out")
    }
  }

  func scale(of name: String) -> Double {
    switch ModelPart(name) {
    case .text: return 1
    case .vision: return vision
    case .aligner: return aligner
    }
  }
}
