import DataPipeline
import Foundation
import Model
import Support

/// From flags to micro-batches.
struct DataSetup {
  let options: TrainingOptions
  let folder: ModelFolder
  let dataParallel: (rank: Int, size: Int)
  /// Ranks that encode the data together, and those that take the same batches.
  let peers: Peers
  let tokenizer: Tokenizer
  let template: ChatTemplate
  let choice: TemplateChoice
  /// nil for a model without vision.
  let media: MediaSetup?

  /// nil where one process prepares data for itself.
  struct Peers {
    var world: (any RankPeers)?
    var sameRows: (any RankPeers)?
  }

  /// - Throws: `FILE-…` for a missing or damaged tokenizer, `DATA-2xx` for template options.
  init(
    _ options: TrainingOptions, _ folder: ModelFolder, dataParallel: (rank: Int, size: Int),
    peers: Peers = Peers()
  ) throws(Fault) {
    self.options = options
    self.folder = folder
    self.dataParallel = dataParallel
    self.peers = peers
    tokenizer = try Tokenizer(folder: folder.path)
    choice = try TemplateChoice(
      TemplateChoice.Facts(
        model: options.model.model ?? folder.path,
        architectures: [folder.config.family.architecture],
        chatTemplate: tokenizer.chatTemplate, modelType: options.model.modelType,
        template: options.template.template))
    var template = TemplateOptions(template: choice.template)
    template.usesChatTemplate = options.template.useChatTemplate ?? true
    if let system = options.template.system {
      template.system = try TemplateOptions.systemText(
        system.hasSuffix(".txt") ? PathText.expanded(system) : system)
    }
    template.lossScale = try LossScale(named: options.template.lossScale)
    template.vocabularySize = folder.config.vocabularySize
    media = try MediaSetup(
      folder, variables: options.report.launch.variables, kwargs: options.model.modelKwargs,
      template: options.template)
    if let media, choice.template == .qwen3VL {
      template.media = try VisionTags(media.processor, tokenizer: tokenizer)
    }
    self.template = try ChatTemplate(options: template, tokenizer: tokenizer)
  }

  /// - Parameter outputFolder: where split-off validation rows are written; nil on all ranks but one.
  /// - Throws: `DATA-…`, `FILE-…`.
  /// - Communication: as `DatasetPlan.prepare`, over the world.
  func prepare(outputFolder: String?) throws(Fault) -> PreparedData {
    let template = template
    return try DatasetPlan.prepare(
      options: try dataOptions(outputFolder),
      encode: { (row) throws(Fault) in try template.encode(row) },
      media: media?.processor, peers: peers.world)
  }

  /// What examines the data sets without training.
  func doctor() throws(Fault) -> DataDoctor {
    let template = template
    return DataDoctor(
      options: try dataOptions(nil), encode: { (row) throws(Fault) in try template.encode(row) },
      media: media?.processor)
  }

  /// Encodes the data sets into one file for many runs.
  /// - Returns: lines for the log.
  /// - Throws: `DATA-…`, `FILE-…`.
  func writeCached(_ writer: CachedDatasetWriter) throws(Fault) -> [String] {
    let template = template
    var options = try dataOptions(nil)
    options.encoding.lazy = false
    let result = try writer.write(
      options: options, encode: { (row) throws(Fault) in try template.encode(row) },
      media: media?.processor)
    return result.report.lines + result.lines
  }

  private func dataOptions(_ outputFolder: String?) throws(Fault) -> DataOptions {
    let flags = options.data
    let launch = options.report.launch
    var data = DataOptions()
    data.sources.train = flags.dataset
    data.sources.validation = flags.valDataset
    data.sources.cached = flags.cachedDataset.map { path in
      let inside = path + "/" + CachedDatasetWriter.fileName
      return PathText.exists(inside) ? inside : path
    }
    data.sources.customInfo = flags.customDatasetInfo
    try data.sources.use(HubAccess(launch, options.model), flags)
    for (old, new) in flags.columns?.object?.members ?? [] { data.rows.columns[old] = new.string }
    data.rows.strict = flags.strict
    data.rows.removeUnused = flags.removeUnusedColumns
    data.rows.randomResponse = launch.randomResponse
    data.rows.threads = flags.datasetNumProc
    data.rows.acceptsMedia = media != nil && choice.template == .qwen3VL
    data.order.seed = flags.dataSeed
    data.order.shuffle = flags.datasetShuffle
    data.order.splitRatio = flags.splitDatasetRatio
    data.order.interleave = flags.interleaveProb
    data.order.stopping = flags.stoppingStrategy == .allExhausted ? .allExhausted : .firstExhausted
    data.shuffleValidation = flags.valDatasetShuffle
    data.encoding = encoding(launch)
    data.stepBatch = options.schedule.microBatchSize * dataParallel.size
    data.outputFolder = outputFolder
    return data
  }

  private func encoding(_ launch: LaunchEnvironment) -> EncodingOptions {
    let flags = options.data
    var encoding = EncodingOptions()
    encoding.maxLength = flags.maxLength ?? folder.config.maxPositions
    encoding.truncation = .init(rawValue: flags.truncationStrategy.rawValue) ?? .delete
    encoding.packing = flags.packing
    encoding.packingLength = flags.packingLength
    // As in the reference: rows with media are encoded when they are fetched, where that can be.
    encoding.lazy =
      flags.lazyTokenize
      ?? (media != nil && !flags.streaming && !flags.packing && flags.cachedDataset.isEmpty)
    encoding.streaming = flags.streaming
    encoding.shuffleBufferSize = flags.shuffleBufferSize
    encoding.protectedTokens = template.placeholderIDs
    if flags.loadFromCacheFile {
      let home = launch.variables["HOME"] ?? "/tmp"
      let cache = launch.variables["XDG_CACHE_HOME"] ?? home + "/.cache"
      encoding.cacheFolder = cache + "/megatron-sft/encoded"
    }
    encoding.fingerprint = template.fingerprint
    encoding.parts = template.parts
    return encoding
  }

  /// The micro-batches of this data-parallel rank.
  func source(_ samples: PreparedSamples, from state: SamplerState = SamplerState())
    throws(Fault) -> BatchSource
  {
    try BatchSource(
      samples, plan: plan(options.schedule.maxEpochs), from: state, peers: peers.sameRows)
  }

  /// Validation rows in their order, without end.
  func validationSource(_ samples: PreparedSamples) throws(Fault) -> BatchSource {
    var plan = plan(nil)
    plan.kind = .single
    if plan.keepsRest {
      plan.microBatchSize = options.swift.perDeviceEvalBatchSize
      plan.globalBatchSize = plan.microBatchSize * dataParallel.size
    }
    return try BatchSource(samples, plan: plan, peers: peers.sameRows)
  }

  private func plan(_ epochs: Int?) -> BatchPlan {
    let flags = options.data
    var plan = BatchPlan()
    plan.kind = .init(rawValue: flags.dataloaderType.rawValue) ?? .cyclic
    plan.microBatchSize = options.schedule.microBatchSize
    plan.globalBatchSize = options.schedule.globalBatchSize
    plan.dataParallelRank = dataParallel.rank
    plan.dataParallelSize = dataParallel.size
    plan.maxEpochs = epochs
    plan.keepsRest = options.form == .swift && !flags.streaming
    plan.workers = flags.numWorkers
    plan.prefetch = max(1, flags.dataloaderPrefetchFactor)
    plan.assembly = BatchAssembly(padToken: padID, multiple: 1, paddingFree: flags.paddingFree)
    return plan
  }

  var padID: Int32 { tokenizer.padID ?? 0 }
}

extension QwenConfig.Family {
  /// The class name in `config.json`.
  var architecture: String {
    switch self {
    case .qwen3: return "Qwen3ForCausalLM"
    case .qwen3MoE: return "Qwen3MoeForCausalLM"
    case .qwen3VL: return "Qwen3VLForConditionalGeneration"
    case .qwen3VLMoE: return "Qwen3VLMoeForConditionalGeneration"
    }
  }
}
