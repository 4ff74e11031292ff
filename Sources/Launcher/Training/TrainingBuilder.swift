import DataPipeline
import Foundation
import Model
import Optim
import Parallel
import Support
import Tensor

/// Makes a `TrainingRun`: everything that can be wrong is found here, before the first step, and on
/// all ranks alike.
struct TrainingBuilder {
  let options: TrainingOptions
  let world: any Communicator

  struct Parts {
    var options: TrainingOptions
    var groups: RankGroups
    var engine: Engine
    var folder: ModelFolder
    var model: QwenModel
    var plan: RecomputePlan
    var precision: PrecisionFlags.Compute
    var data: DataSetup
    var optimizer: DistributedOptimizer
    var schedule: Schedule
    var source: BatchSource
    var validation: BatchSource?
    var trainIterations: Int
    var evalIterations: Int
    var directory: String
    var logger: Logger
    var log: RunLog?
    var position: TrainingPosition
  }

  func build() throws(Fault) -> TrainingRun {
    let logger = Logger(level: options.logging.level, rank: world.rank)
    sayOptions(logger)
    let folder = try ModelFolder(
      model: options.model.model, checkpoint: options.checkpoint.load,
      hub: HubAccess(
        options.report.launch, options.model,
        files: options.checkpoint.load == nil ? .model : .description),
      overrides: ArchitectureOverrides(options),
      weightsAreGiven: options.checkpoint.load != nil || options.checkpoint.noInitialization)
    sayModelOptions(folder, logger)
    let (mesh, groups) = try RankGroups.make(world, MeshShape(options.parallel), folder.config)
    logger.info("\(mesh)")
    let engine = try options.run.engine(options.report.launch)
    let directory = try runDirectory()
    let leadsNode = options.report.launch.world.localRank == 0
    let peers = DataSetup.Peers(
      world: CommunicatorPeers(group: world, leadsNode: leadsNode),
      sameRows: CommunicatorPeers(group: groups.tp, leadsNode: leadsNode))
    let data = try world.agreeing { () throws(Fault) in
      try DataSetup(
        options, folder, dataParallel: (groups.dp.rank, groups.dp.size), peers: peers)
    }
    for line in data.media?.lines ?? [] { logger.info(line) }
    logger.info("template: \(data.choice.template.rawValue) (\(data.choice.reason))")
    try world.agreeing { () throws(Fault) in
      if world.rank == 0 { try writeArguments(directory) }
    }
    let prepared = try world.agreeing { () throws(Fault) in
      try data.prepare(outputFolder: world.rank == 0 ? directory : nil)
    }
    sayData(prepared, data, logger)
    let setup = ModelSetup(options: options, folder: folder, groups: groups, engine: engine)
    let loaded = try load(options.checkpoint.load, logger)
    let adapter = try load(options.adapterCheckpoint, logger)
    let model = try world.agreeing { () throws(Fault) in try setup.build(from: loaded) }
    for warning in setup.freeze(model) { logger.warning(warning) }
    try checkTrainable(model)
    sayLoaded(loaded, logger)
    // With adapters the base is weights only, and the run goes on from the adapter's checkpoint.
    let resume = (options.tuner.trainType == .lora ? adapter : loaded).flatMap {
      Resume($0, options)
    }
    var position = try resume?.position() ?? TrainingPosition()
    let source = try data.source(
      prepared.train,
      from: resume?.data(position) ?? SamplerState(consumed: position.consumedTrainSamples))
    let iterations = try trainIterations(source)
    let training = OptimizerSetup(
      options: options, groups: groups, engine: engine, directory: directory,
      isHalf: setup.precision == .fp16)
    var schedule = try training.schedule(trainIterations: iterations)
    let optimizer = try world.agreeing { () throws(Fault) in
      try training.optimizer(model)
    }
    sayModel(model, optimizer, setup, logger)
    schedule = try resume?.schedule(schedule, into: &position, logger) ?? schedule
    try resume?.optimizer(optimizer, folder.config, groups, logger)
    let validation = try prepared.validation.map { (samples) throws(Fault) in
      try data.validationSource(samples)
    }
    let log = try world.agreeing { () throws(Fault) in try makeLog(directory) }
    let run = TrainingRun(
      Parts(
        options: options, groups: groups, engine: engine, folder: folder, model: model,
        plan: setup.recompute(), precision: setup.precision, data: data, optimizer: optimizer,
        schedule: schedule,
        source: source, validation: validation, trainIterations: iterations,
        evalIterations: try evalIterations(validation, logger), directory: directory,
        logger: logger, log: log, position: position))
    try resume?.restore(run)
    return run
  }

  /// A checkpoint, found and checked by all ranks together.
  private func load(_ path: String?, _ logger: Logger) throws(Fault) -> LoadedCheckpoint? {
    guard let path else { return nil }
    do throws(Fault) {
      return try LoadedCheckpoint.open(
        path, fallback: options.checkpoint.onCorrupt == .previous ? .newestComplete : .stop,
        world: world, logger: logger)
    } catch {
      guard error.code == .notACheckpoint, !options.checkpoint.exitOnMissing else { throw error }
      logger.warning("\(path) holds no checkpoint; the run begins without one")
      return nil
    }
  }

  /// `<save>/v<N>-<time>`, chosen by rank 0 for all.
  private func runDirectory() throws(Fault) -> String {
    let save = options.checkpoint.save ?? PathText.absolute("megatron_output")
    let own =
      world.rank == 0
      ? RunDirectory.choose(save: save, addVersion: options.checkpoint.addVersion) : ""
    let path = try world.shared(own)
    try world.agreeing { () throws(Fault) in try RunDirectory.make(path) }
    return path
  }

  private func writeArguments(_ directory: String) throws(Fault) {
    var derived = JSONObject()
    derived["rank"] = JSONValue(0)
    derived["global_world_size"] = JSONValue(world.size)
    try AtomicFile.write(
      Array(options.argumentsJSON(adding: derived).write(.indented).utf8),
      to: directory + "/" + SavedArguments.fileName)
  }

  private func trainIterations(_ source: BatchSource) throws(Fault) -> Int {
    if let iterations = options.schedule.trainIters { return iterations }
    guard let iterations = source.schedule.flatMap(epochIterations) else {
      throw Fault(
        .optionsDisagree, "the length of a stream is not known", at: .flag("train_iters"),
        fix: "set --train_iters")
    }
    guard iterations > 0 else {
      throw Fault(
        .noRows,
        "the data fill no step of global_batch_size \(options.schedule.globalBatchSize)",
        at: .flag("global_batch_size"),
        found: "\(source.schedule?.layout.rows ?? 0) rows (packed ones count as one)",
        fix: "lower --global_batch_size, raise --max_epochs, or add data")
    }
    return iterations
  }

  /// Steps of `max_epochs`; in the form of swift sft an epoch may be begun and not finished.
  private func epochIterations(_ schedule: TrainingSchedule) -> Int? {
    guard let whole = schedule.trainIterations else { return nil }
    let epochs = options.swift.numTrainEpochs
    guard options.form == .swift, epochs < epochs.rounded(.up) else { return whole }
    let rows = epochs * Double(schedule.layout.usableRows)
    return min(whole, Int((rows / Double(schedule.globalBatchSize)).rounded(.up)))
  }

  /// - Throws: `OPT-103` when the freeze flags leave nothing to train on any rank.
  private func checkTrainable(_ model: QwenModel) throws(Fault) {
    let own = model.parameters.contains(where: \.isTrainable) ? 1.0 : 0
    guard try world.allDoubles(own).allSatisfy({ $0 == 0 }) else { return }
    throw Fault(
      .optionsDisagree, "every weight is frozen: nothing is left to train",
      at: .flag("freeze_parameters"),
      fix: "freeze less, or name weights with --trainable_parameters")
  }

  private func evalIterations(_ validation: BatchSource?, _ logger: Logger) throws(Fault) -> Int {
    guard let validation else { return 0 }
    if options.logging.evalIters >= 0 { return options.logging.evalIters }
    guard let schedule = validation.schedule else {
      throw Fault(
        .optionsDisagree, "the length of a stream is not known", at: .flag("eval_iters"),
        fix: "set --eval_iters")
    }
    logger.info(StartupText.evalIters(schedule.evaluationIterations))
    return schedule.evaluationIterations
  }

  private func makeLog(_ directory: String) throws(Fault) -> RunLog? {
    guard world.rank == world.size - 1 else { return nil }
    let log = try RunLog(
      directory: directory, settings: RunLog.Settings(options, directory: directory))
    Logger(rank: 0).info(StartupText.loggingPath(log.path))
    return log
  }
}
