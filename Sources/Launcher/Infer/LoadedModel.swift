import Checkpoint
import DataPipeline
import Foundation
import Model
import Parallel
import Support
import Tensor

/// Which model generates, and how it speaks.
struct ModelSource: Sendable {
  /// Folder in published layout, or an id in a hub's cache; nil: the base that the adapter names.
  var model: String?
  /// Folder above `iter_…` with the weights; configuration and tokenizer come from `model` or from
  /// the folder itself.
  var mcoreModel: String?
  /// Folders of adapters in published layout; what they add is added up.
  var adapters: [String] = []
  /// Add the adapters to the weights instead of computing it beside them.
  var merges = false
  var dtype: ModelFlags.TorchDType?
  var modelType: String?
  var template: String?
  var system: String?
  var responsePrefix: String?
  var usesChatTemplate = true
  /// Most tokens of a prompt, and what happens to longer ones.
  var maxLength: Int?
  var truncation = DataPipeline.TruncationStrategy.delete
  var maxModelLength: Int?
  var ropeScaling: TextOrJSON?
  var seed = 42
  var hub: HubAccess?
  /// How pictures and clips are read: the environment, `--model_kwargs`, `--max_pixels`.
  var variables: [String: String] = [:]
  var modelKwargs: JSONValue?
  var mediaFlags = TemplateFlags()
}

/// A model of this rank, ready to generate, with what turns conversations into tokens and back.
struct LoadedModel {
  let folder: ModelFolder
  let model: QwenModel
  let setting: GenerationSetting
  let groups: RankGroups
  let choice: TemplateChoice
  let prompts: PromptBuilder

  /// - Throws: `FILE-…`, `MODEL-…`, `CKPT-…`, `LAYOUT-001`, `DATA-2xx`, `MEM-001`.
  init(
    _ source: ModelSource, shape: MeshShape, world: any Communicator, engine: Engine
  ) throws(Fault) {
    let adapters = try source.adapters.map { (path) throws(Fault) in
      try AdapterFolder(try source.hub?.adapter(path) ?? PathText.expanded(path))
    }
    folder = try ModelFolder(
      model: source.model ?? (source.mcoreModel == nil ? adapters.first?.config.baseModel : nil),
      checkpoint: source.mcoreModel.map(PathText.expanded), hub: source.hub,
      overrides: ArchitectureOverrides(
        rope: RopeOverride(source.ropeScaling, maxModelLength: source.maxModelLength)))
    groups = try RankGroups.make(world, shape, folder.config).1
    try Self.refuseReplicas(groups, folder.config)
    setting = GenerationSetting(
      engine: engine, groups: groups.model,
      rowSharers: groups.rowSharers(hasExperts: folder.config.experts != nil))
    model = try Self.model(source, folder, adapters, groups, engine)
    let tokenizer = try Tokenizer(folder: folder.path)
    (choice, prompts) = try Self.speech(source, folder, tokenizer)
  }

  private static func model(
    _ source: ModelSource, _ folder: ModelFolder, _ adapters: [AdapterFolder],
    _ groups: RankGroups, _ engine: Engine
  ) throws(Fault) -> QwenModel {
    let named =
      source.dtype ?? folder.config.dtype.flatMap(ModelFlags.TorchDType.init(rawValue:))
      ?? .bfloat16
    // Values of fp16 are held as fp32, as in training.
    let dtype: DType = named == .bfloat16 ? .bfloat16 : .float32
    let map = NameMap(folder.config)
    let (adapter, adapterPlan) = try Self.combined(adapters, map)
    var plan = adapterPlan
    plan?.dropout = 0
    let model = try QwenModel(
      folder.config, layout: groups.layout, dtype: dtype, router: RouterOptions(folder.config),
      adapters: source.merges ? nil : plan, on: engine)
    var weights: any WeightSource
    if let path = source.mcoreModel {
      let place = try CheckpointLocator.resolve(PathText.expanded(path), fallback: .stop)
      weights = try MegatronWeights(place.folder, folder.config)
    } else {
      weights = PublishedWeightSource(try PublishedFolder(folder.path), folder.config)
    }
    if source.merges, let adapter, let plan {
      weights = MergedWeights(
        base: weights, adapter: adapter, plan: plan, engine: engine, dtype: dtype)
    }
    try model.load(from: weights)
    if !source.merges, let adapter { try model.loadAdapters(from: adapter) }
    // A tower of which nothing is trained is shared by the ranks.
    for parameter in model.parameters { parameter.isTrainable = false }
    if named == .float16 {
      for parameter in model.parameters { try parameter.tensor.roundToHalf() }
    }
    try model.text.prepareForGeneration()
    return model
  }

  /// One adapter as it is, several as their sum; nil without any.
  private static func combined(
    _ folders: [AdapterFolder], _ map: NameMap
  ) throws(Fault) -> (source: (any WeightSource)?, plan: AdapterPlan?) {
    let parts = try folders.map { (folder) throws(Fault) in try PublishedAdapter(folder, map) }
    guard parts.count > 1 else { return (parts.first, parts.first?.plan) }
    let sum = try CombinedAdapter(parts, map)
    return (sum, sum.plan)
  }

  private static func speech(
    _ source: ModelSource, _ folder: ModelFolder, _ tokenizer: Tokenizer
  ) throws(Fault) -> (TemplateChoice, PromptBuilder) {
    let choice = try TemplateChoice(
      TemplateChoice.Facts(
        model: source.model ?? folder.path,
        architectures: [folder.config.family.architecture],
        chatTemplate: tokenizer.chatTemplate, modelType: source.modelType,
        template: source.template))
    var options = TemplateOptions(template: choice.template)
    options.usesChatTemplate = source.usesChatTemplate
    if let system = source.system {
      options.system = try TemplateOptions.systemText(
        system.hasSuffix(".txt") ? PathText.expanded(system) : system)
    }
    options.maxLength = source.maxLength
    options.truncation = source.truncation
    options.responsePrefix = source.responsePrefix
    options.vocabularySize = folder.config.vocabularySize
    var media = try MediaSetup(
      folder, variables: source.variables, kwargs: source.modelKwargs, template: source.mediaFlags)
    if choice.template != .qwen3VL { media = nil }
    if let media { options.media = try VisionTags(media.processor, tokenizer: tokenizer) }
    let prompts = PromptBuilder(
      template: try ChatTemplate(options: options, tokenizer: tokenizer),
      defaults: try GenerationDefaults(folder: folder.path),
      maxModelLength: source.maxModelLength ?? folder.config.maxPositions,
      vocabularySize: folder.config.vocabularySize, seed: source.seed, media: media)
    return (choice, prompts)
  }

  /// With experts over ranks all ranks serve one model together.
  private static func refuseReplicas(_ groups: RankGroups, _ config: QwenConfig) throws(Fault) {
    guard config.experts != nil, groups.ep.size > 1, groups.edp.size > 1 else { return }
    throw Fault(
      .layoutRefused, "the ranks hold \(groups.edp.size) copies of the experts",
      expected: "expert_model_parallel_size · expert_tensor_parallel_size ranks",
      found: "\(groups.world.size)",
      fix: "start \(groups.ep.size * groups.etp.size) ranks, or raise --expert_model_parallel_size")
  }

  /// Ranks that hold the same tokens work as one; the others are replicas of it.
  var replicas: (index: Int, count: Int) {
    setting.rowSharers != nil ? (0, 1) : (groups.dp.rank, groups.dp.size)
  }

  func loop(maxBatch: Int) -> GenerationLoop {
    let tokenizer = prompts.template.tokenizer
    return GenerationLoop(model: model, setting: setting, maxBatch: maxBatch) {
      tokenizer.bytes(of: $0)
    }
  }
}
