import DataPipeline
import Foundation
import Parallel
import Support

/// The body of `megatron-infer`.
public enum InferEntry {
  /// - Returns: 0, or 75 when a run over a data set was stopped; started again, it goes on.
  public static func run(_ options: InferOptions) throws(Fault) -> ExitCode {
    try RankJob.run(options.report.launch) { (world) throws(Fault) in
      try InferProgram(options: options, world: world).run()
    }
  }
}

/// `megatron-infer` on one rank.
struct InferProgram {
  let options: InferOptions
  let world: any Communicator

  private var logger: Logger { Logger(level: options.logging.level, rank: world.rank) }

  func run() throws(Fault) -> ExitCode {
    let launch = options.report.launch
    if let line = options.report.inertLine { logger.info(line) }
    for line in options.report.notes { logger.info(line) }
    for line in options.report.warnings { logger.warning(line) }
    let rows = options.isDataRun ? try self.rows() : []
    let loaded = try LoadedModel(
      options.source, shape: options.meshShape, world: world,
      engine: try options.run.engine(launch))
    logger.info(
      "template \(loaded.choice.template) of model type \(loaded.choice.modelType) "
        + "(\(loaded.choice.reason)); \(loaded.setting.engine.level), "
        + "\(loaded.setting.engine.threads) threads")
    if options.isDataRun { return try answer(rows, loaded) }
    guard loaded.replicas.count == 1 else {
      throw Fault(
        .layoutRefused, "a conversation takes the ranks of one model",
        found: "\(loaded.replicas.count) copies of it",
        fix:
          "raise --tensor_model_parallel_size or --expert_model_parallel_size, or start fewer ranks"
      )
    }
    let driver = LoopDriver(loaded.loop(maxBatch: options.generation.maxBatchSize), world: world)
    guard world.rank == 0 else {
      try driver.follow()
      return .done
    }
    if let address = options.generation.serve {
      try ServeEntry(
        driver: driver, prompts: loaded.prompts, model: servedName(loaded.folder), logger: logger
      ).run(address)
      return .done
    }
    try ChatEntry(
      driver: driver, prompts: loaded.prompts, config: options.request, logger: logger,
      results: ResultFile(path: resultPath(loaded.folder))
    ).run(system: loaded.prompts.template.options.system)
    return .done
  }

  /// The last part of the path.
  private func servedName(_ folder: ModelFolder) -> String {
    let path = options.model.model ?? folder.path
    return path.split(separator: "/").last.map(String.init) ?? path
  }

  private func resultPath(_ folder: ModelFolder) -> String {
    if let path = options.generation.resultPath { return PathText.absolute(path) }
    let generation = options.generation
    let weights =
      (generation.adapters.first ?? generation.mcoreModel).map(PathText.expanded) ?? folder.path
    return ResultFile.defaultPath(folder: weights, model: options.model.model ?? folder.path)
  }

  private func answer(_ rows: [StandardRow], _ loaded: LoadedModel) throws(Fault) -> ExitCode {
    SignalFlags.install()
    let results = world.rank == 0 ? ResultFile(path: resultPath(loaded.folder)) : nil
    let generation = options.generation
    let outcome = try DatasetRun(
      loaded: loaded, rows: rows, config: options.request, maxBatch: generation.maxBatchSize,
      writeBatch: generation.writeBatchSize, isStrict: options.data.strict, logger: logger,
      results: results
    ).run(stream: generation.stream == true)
    guard let results else { return outcome.wasStopped ? .stoppedOnRequest : .done }
    Terminal.write(summary(outcome).write(.python) + "\n", to: .output)
    logger.info("result_path: \(results.path)")
    guard outcome.wasStopped else { return .done }
    logger.info("stopped on request; the same command goes on behind the last answer")
    return .stoppedOnRequest
  }

  private func summary(_ outcome: DatasetRun.Outcome) -> JSONValue {
    let (totals, seconds) = (outcome.totals, max(outcome.seconds, 1e-9))
    var object = JSONObject([
      ("num_prompt_tokens", JSONValue(totals.promptTokens)),
      ("num_generated_tokens", JSONValue(totals.generatedTokens)),
      ("num_samples", JSONValue(totals.samples)), ("runtime", JSONValue(seconds)),
      ("samples/s", JSONValue(Double(totals.samples) / seconds)),
      ("tokens/s", JSONValue(Double(totals.generatedTokens) / seconds)),
    ])
    if totals.dropped > 0 { object["num_left_out"] = JSONValue(totals.dropped) }
    if options.generation.metric == .acc {
      object["acc"] = JSONValue(Double(totals.matches) / Double(max(totals.samples, 1)))
    }
    return .object(object)
  }

  /// The validation rows, alike on every rank.
  private func rows() throws(Fault) -> [StandardRow] {
    let (_, validation, report) = try DatasetPlan.rows(options: options.dataOptions())
    for line in report.lines { logger.info(line) }
    var rows = validation
    if let count = options.generation.valDatasetSample, count < rows.count {
      if options.data.datasetShuffle {
        let random = CounterRandom(
          seed: UInt64(bitPattern: Int64(options.data.dataSeed)), purpose: "val_dataset_sample")
        let order = rows.indices.sorted { random.bits($0) < random.bits($1) }
        rows = order.prefix(count).sorted().map { rows[$0] }
      } else {
        rows = Array(rows.prefix(count))
      }
    }
    guard !rows.isEmpty else {
      throw Fault(
        .noRows, "there are no validation rows",
        fix: "give --val_dataset, or --dataset with a --split_dataset_ratio above 0")
    }
    return rows
  }
}

extension InferOptions {
  var isDataRun: Bool { !isInteractive && generation.serve == nil }

  var source: ModelSource {
    var source = ModelSource()
    source.model = model.model
    source.mcoreModel = generation.mcoreModel
    source.adapters = generation.adapters
    source.merges = generation.mergeLora
    source.dtype = model.torchDType
    source.modelType = model.modelType
    source.template = template.template
    source.system = template.system
    source.responsePrefix = template.responsePrefix
    source.usesChatTemplate = template.useChatTemplate ?? true
    source.maxLength = data.maxLength
    source.truncation = .init(rawValue: data.truncationStrategy.rawValue) ?? .delete
    source.maxModelLength = generation.maxModelLen
    source.ropeScaling = model.ropeScaling
    source.seed = generation.seed
    source.hub = HubAccess(
      report.launch, model, files: generation.mcoreModel == nil ? .model : .description)
    source.variables = report.launch.variables
    source.modelKwargs = model.modelKwargs
    source.mediaFlags = template
    return source
  }

  var request: RequestConfig {
    var config = RequestConfig()
    config.maxTokens = generation.maxNewTokens
    config.temperature = generation.temperature
    config.topK = generation.topK
    config.topP = generation.topP
    config.repetitionPenalty = generation.repetitionPenalty
    config.stop = generation.stopWords
    config.logprobs = generation.logprobs
    config.topLogprobs = generation.topLogprobs ?? 0
    return config
  }

  /// Rows lie over the tensor-parallel ranks where experts ask for it.
  var meshShape: MeshShape {
    var flags = parallel
    flags.sequenceParallel = true
    return MeshShape(flags)
  }

  /// - Throws: `FILE-005`.
  func dataOptions() throws(Fault) -> DataOptions {
    var options = DataOptions()
    options.sources.train = data.dataset
    options.sources.validation = data.valDataset
    options.sources.customInfo = data.customDatasetInfo
    try options.sources.use(HubAccess(report.launch, model), data)
    for (old, new) in data.columns?.object?.members ?? [] {
      options.rows.columns[old] = new.string
    }
    options.rows.strict = data.strict
    options.rows.removeUnused = data.removeUnusedColumns
    options.rows.randomResponse = report.launch.randomResponse
    options.rows.threads = data.datasetNumProc
    options.rows.requiresAnswer = false
    options.order.seed = data.dataSeed
    options.order.shuffle = data.datasetShuffle
    options.order.splitRatio = data.splitDatasetRatio
    options.order.interleave = data.interleaveProb
    options.order.stopping =
      data.stoppingStrategy == .allExhausted ? .allExhausted : .firstExhausted
    options.shuffleValidation = data.valDatasetShuffle
    return options
  }
}
