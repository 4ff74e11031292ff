import Checkpoint
import DataPipeline
import Foundation
import Model
import Parallel
import Support
import Tensor

/// The folder that tells what a model is: configuration and tokenizer.
struct ModelFolder {
  let path: String
  let config: QwenConfig

  /// - Parameters:
  ///   - model: `--model`: a folder in published layout.
  ///   - checkpoint: `--load`: used when it carries a config.json of its own.
  /// - Throws: `FILE-001` when neither is a model's folder.
  init(model: String?, checkpoint: String?) throws(Fault) {
    let candidates = [model, checkpoint].compactMap { $0 }
    let found = candidates.first {
      FileManager.default.fileExists(atPath: $0 + "/config.json")
    }
    guard let folder = found else {
      throw Fault(
        .missingFile,
        model.map { "\($0) is no folder with a config.json" } ?? "no model is named",
        at: .flag("model"), expected: "a folder in HuggingFace layout",
        fix: "download the model first and name its folder with --model")
    }
    path = folder
    config = try QwenConfig(folder: folder)
  }

  /// Files that go along with the weights into every folder this program makes.
  static let companions = [
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json", "preprocessor_config.json",
    "video_preprocessor_config.json", "processor_config.json",
  ]

  /// Copies what is there and not yet in `target`.
  func copyCompanions(to target: String, replacing: Bool = false) throws(Fault) {
    for name in ModelFolder.companions {
      let (from, to) = (path + "/" + name, target + "/" + name)
      guard FileManager.default.fileExists(atPath: from), from != to else { continue }
      if FileManager.default.fileExists(atPath: to), !replacing { continue }
      guard let data = FileManager.default.contents(atPath: from) else {
        throw Fault(.unreadableFile, "cannot be read", at: .file(from))
      }
      try AtomicFile.write([UInt8](data), to: to)
    }
  }
}

/// From flags to a model with its weights on this rank.
struct ModelSetup {
  let options: TrainingOptions
  let folder: ModelFolder
  let groups: RankGroups
  let engine: Engine

  /// What the flags ask the model to compute in.
  /// - Throws: `OPT-…` for fp16, which these kernels do not have.
  func dtype() throws(Fault) -> DType {
    let type = options.model.torchDType ?? ModelSetup.published(folder.config.dtype)
    switch options.precision.compute(for: type) {
    case .bf16: return .bfloat16
    case .fp32: return .float32
    case .fp16:
      throw Fault(
        .unsupportedPrecision, "training in fp16 is not built", at: .flag("fp16"),
        expected: "bfloat16 or float32",
        fix: "add --torch_dtype bfloat16; its range needs no loss scaling")
    }
  }

  private static func published(_ name: String?) -> ModelFlags.TorchDType {
    name.flatMap(ModelFlags.TorchDType.init(rawValue:)) ?? .bfloat16
  }

  func router() -> RouterOptions? {
    guard var router = RouterOptions(folder.config) else { return nil }
    let flags = options.experts
    if let score = flags.scoreFunction { router.score = .init(rawValue: score.rawValue) ?? .softmax }
    if let pre = flags.preSoftmax { router.preSoftmax = pre }
    router.scalingFactor = flags.topKScalingFactor.map { Float($0) }
    router.precision = .init(rawValue: flags.routerDType.rawValue) ?? .fp32
    switch flags.loadBalancingType {
    case .seqAuxLoss: router.balancing = .sequenceAuxLoss
    case MoEFlags.LoadBalancing.none?, .sinkhorn: router.balancing = .none
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

  /// Builds the model and fills it: from `--load`, else from published weights in the model's folder,
  /// else at random.
  /// - Returns: the model and the checkpoint it came from.
  /// - Throws: `MODEL-103`, `CKPT-…`, `MEM-001`.
  func build() throws(Fault) -> (model: QwenText, checkpoint: LoadedCheckpoint?) {
    let model = try QwenText(
      folder.config, layout: groups.layout, dtype: try dtype(), router: router(), on: engine)
    if let path = options.checkpoint.load {
      let loaded = try LoadedCheckpoint(path)
      try model.load(from: try MegatronWeights(loaded.folder, folder.config))
      return (model, loaded)
    }
    if !options.checkpoint.noInitialization {
      try model.initialize(seed: options.schedule.seed)
    } else {
      let map = NameMap(folder.config)
      try model.load(from: PublishedWeightSource(try PublishedFolder(folder.path), map))
    }
    return (model, nil)
  }

  /// `--freeze_parameters…` and their opposites, in the reference's order.
  /// - Returns: warnings about names that match nothing.
  func freeze(_ model: QwenText) -> [String] {
    FreezeRules(options.tuner).apply(to: model.parameters)
  }
}

extension FaultCode {
  static let unsupportedPrecision = FaultCode(
    "OPT-120", .usage, "a number format that training is not built for")
}
