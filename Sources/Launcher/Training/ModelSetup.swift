import Checkpoint
import DataPipeline
import Foundation
import Model
import Parallel
import Support
import Tensor

/// From flags to a model with its weights on this rank.
struct ModelSetup {
  let options: TrainingOptions
  let folder: ModelFolder
  let groups: RankGroups
  let engine: Engine

  /// What the flags ask the model to be trained in.
  var precision: PrecisionFlags.Compute {
    options.precision.compute(
      for: options.model.torchDType ?? ModelSetup.published(folder.config.dtype))
  }

  /// What weights and activations are held in; fp16 values are held as fp32.
  private var dtype: DType { precision == .bf16 ? .bfloat16 : .float32 }

  private static func published(_ name: String?) -> ModelFlags.TorchDType {
    name.flatMap(ModelFlags.TorchDType.init(rawValue:)) ?? .bfloat16
  }

  func router() -> RouterOptions? {
    guard var router = RouterOptions(folder.config) else { return nil }
    let flags = options.experts
    if let score = flags.scoreFunction {
      router.score = .init(rawValue: score.rawValue) ?? .softmax
    }
    if let pre = flags.preSoftmax { router.preSoftmax = pre }
    router.scalingFactor = flags.topKScalingFactor.map { Float($0) }
    router.precision = .init(rawValue: flags.routerDType.rawValue) ?? .fp32
    switch flags.loadBalancingType {
    case .seqAuxLoss: router.balancing = .sequenceAuxLoss
    case MoEFlags.LoadBalancing.none?: router.balancing = .none
    default: router.balancing = .auxLoss
    }
    router.auxLossCoefficient = Float(flags.auxLossCoeff)
    router.zLossCoefficient = Float(flags.zLossCoeff ?? 0)
    router.capacityFactor = flags.expertCapacityFactor
    router.padsToCapacity = flags.padExpertInputToCapacity
    router.dropPolicy = flags.tokenDropPolicy == .position ? .position : .probs
    router.capacityScope = flags.capacityScope == .rank ? .rank : .group
    return router
  }

  /// `--recompute_…` as the model takes it.
  func recompute() -> RecomputePlan {
    let flags = options.recompute
    var plan = RecomputePlan()
    if flags.vision { plan.modules.insert(.vision) }
    if flags.granularity == .full {
      let layers = flags.numLayers ?? 1
      plan.method = flags.method == .block ? .block(layers: layers) : .uniform(layers: layers)
      return plan
    }
    let names: [String: RecomputeModules] = [
      "core_attn": .coreAttention, "moe_act": .expertActivation, "layernorm": .layerNorm,
      "mlp": .mlp, "moe": .moe,
    ]
    for name in flags.modules { plan.modules.formUnion(names[name] ?? []) }
    return plan
  }

  /// Builds the model, with adapters where they are trained, and fills it: from the checkpoint of
  /// `--load`, else from published weights in the model's folder, else at random.
  /// - Throws: `MODEL-103`, `CKPT-…`, `OPT-140`, `MEM-001`.
  func build(from loaded: LoadedCheckpoint?) throws(Fault) -> QwenModel {
    try options.run.requireMultiplied(dtype)
    let adapters = try AdapterSetup(options, folder.config)
    let model = try QwenModel(
      folder.config, layout: groups.layout, dtype: dtype, router: router(),
      adapters: adapters?.plan, on: engine)
    if let loaded {
      try model.load(from: MegatronWeights(loaded.reader, folder.config))
    } else if !options.checkpoint.noInitialization {
      try model.initialize(seed: options.schedule.seed)
    } else {
      try model.load(
        from: PublishedWeightSource(try PublishedFolder(folder.path), folder.config))
    }
    try adapters?.fill(model, seed: options.schedule.seed)
    if precision == .fp16 {
      for parameter in model.parameters { try parameter.tensor.roundToHalf() }
    }
    return model
  }

  /// `--freeze_parameters…` and their opposites, in the reference's order.
  /// - Returns: warnings about names that match nothing.
  func freeze(_ model: QwenModel) -> [String] {
    // The base is frozen, and what is trained beside adapters is said by other flags.
    guard model.adapters == nil else { return [] }
    return FreezeRules(options.tuner).apply(to: model.parameters)
  }
}
