import Checkpoint
import DataPipeline
import Model
import Optim
import Support

/// Going on from a checkpoint, part by part, as the flags allow.
///
/// - Source: Megatron's load modes; position, schedule, optimizer and random numbers can each be left
///   out, and what is asked for and missing is a fault.
struct Resume {
  let loaded: LoadedCheckpoint
  let options: TrainingOptions

  /// - Returns: nil with `--finetune`, which takes the weights only.
  init?(_ loaded: LoadedCheckpoint, _ options: TrainingOptions) {
    guard !options.checkpoint.finetune else { return nil }
    self.loaded = loaded
    self.options = options
  }

  /// A checkpoint of iteration 0 (`release`) has nothing but weights.
  private var begins: Bool { loaded.iteration == 0 }
  private var loadsOptimizer: Bool { !begins && !options.checkpoint.noLoadOptim }

  /// Where the run begins. A converted checkpoint knows no samples: they follow from the iteration.
  /// - Throws: `CKPT-140`, `CKPT-146` when a part is asked for that was not saved.
  func position() throws(Fault) -> TrainingPosition {
    if loadsOptimizer, OptimizerStates.layout(loaded.reader, loaded.common) == .none {
      throw OptimizerRestore.missing(loaded)
    }
    try checkRandomState()
    var position = TrainingPosition()
    position.iteration = loaded.iteration
    let consumed = loaded.consumedTrainSamples
    position.consumedTrainSamples =
      consumed > 0 ? consumed : loaded.iteration * options.schedule.globalBatchSize
    position.consumedValidationSamples = loaded.consumedValidationSamples
    position.skippedSteps = loaded.state?.skippedSteps ?? 0
    position.scheduledSamples = loaded.state?.scheduledSamples ?? position.consumedTrainSamples
    return position
  }

  private func checkRandomState() throws(Fault) {
    guard let state = loaded.state, state.seed == nil, !begins, !options.checkpoint.noLoadRNG else {
      return
    }
    throw Fault(
      .noRandomState, "the checkpoint was saved with --no_save_rng", at: .file(loaded.folder),
      fix: "Specify --no_load_rng true (random numbers follow from --seed) or --finetune true")
  }

  /// The place in the data; a checkpoint of ours also knows how many rows there were.
  func data(_ position: TrainingPosition) -> SamplerState {
    var state = loaded.state?.data ?? SamplerState()
    state.consumed = position.consumedTrainSamples
    return state
  }

  /// Moves the schedule to where it was and compares its values with those of the flags, or takes
  /// them over.
  /// - Returns: the schedule to go on with.
  /// - Throws: `OPTIM-104` naming a value that differs.
  func schedule(
    _ schedule: Schedule, into position: inout TrainingPosition, _ logger: Logger
  ) throws(Fault) -> Schedule {
    guard loadsOptimizer, let record = loaded.common.scheduler?.json?.object else {
      return schedule
    }
    if options.extra.overrideScheduler {
      if let samples = record["num_steps"]?.int { position.scheduledSamples = samples }
      return schedule
    }
    if options.extra.useCheckpointScheduler {
      let stored = try schedule.taking(record)
      position.scheduledSamples = try stored.samples(from: record)
      return stored
    }
    // A longer training makes a longer schedule unless its length is given; the flags of the
    // schedule do not contradict each other then.
    var derived: Set<String> = options.schedule.lrDecayIters == nil ? Schedule.lengthKeys : []
    if options.schedule.lrWarmupFraction == nil { derived.remove("lr_warmup_steps") }
    for difference in schedule.differences(from: record) where derived.contains(difference.key) {
      logger.warning(
        "the length of training differs from that of the checkpoint: \(difference.key) is "
          + "\(difference.own), it was \(difference.stored); give --lr_decay_iters for one schedule "
          + "over all runs")
    }
    position.scheduledSamples = try schedule.samples(from: record, allowing: derived)
    return schedule
  }

  /// - Communication: agreement, and the weights over their groups.
  /// - Throws: on all ranks `CKPT-151` when the states do not fit.
  func optimizer(
    _ optimizer: DistributedOptimizer, _ config: QwenConfig, _ groups: RankGroups,
    _ logger: Logger
  ) throws(Fault) {
    guard loadsOptimizer else { return }
    let scales = try groups.world.agreeing { () throws(Fault) in
      try StateScaleRecord.read(
        loaded.reader, rank: groups.world.rank, of: groups.world.size)
    }
    let restore = OptimizerRestore(
      optimizer: optimizer, config: config, groups: groups, loaded: loaded, scales: scales)
    for note in try restore.apply() { logger.warning(note) }
    logger.info("optimizer states of \(optimizer.stepCount) updates are loaded")
    let now = RunFacts.states(optimizer.options)
    if let then = loaded.state?.facts["states"]?.string, then != now {
      logger.info("optimizer states were \(then), from here on they are \(now)")
    }
  }

  /// The rest: loss scale, seed, what the log has gathered.
  func restore(_ run: TrainingRun) throws(Fault) {
    if loadsOptimizer { restoreLossScale(run) }
    guard let state = loaded.state, !begins else { return }
    run.restoredWindow = state.window
    guard let seed = state.seed, !options.checkpoint.noLoadRNG else { return }
    if seed != run.seed {
      run.logger.info("--seed \(run.seed) is not used: the checkpoint goes on with \(seed)")
    }
    run.seed = seed
  }

  private func restoreLossScale(_ run: TrainingRun) {
    let record = loaded.common.optimizer
    guard run.lossScaler.isDynamic,
      let scaler = record?["grad_scaler"] ?? record?[0]?["grad_scaler"],
      let scale = scaler["scale"]?.double, scale.isFinite, scale > 0
    else { return }
    run.lossScaler.restore(
      scale: scale, growthTracker: Int(scaler["growth_tracker"]?.double ?? 0),
      hysteresisTracker: Int(
        scaler["hysteresis_tracker"]?.double ?? Double(run.lossScaler.options.hysteresis)))
  }
}

/// What a checkpoint tells about the run that wrote it; for notes and for people.
enum RunFacts {
  /// Types of the optimizer's states, as the flags name them.
  static func states(_ options: OptimizerOptions) -> String {
    if case .sgd = options.rule { return "sgd fp32" }
    let main =
      options.mainParameterType == .float16
      ? "fp16" : options.isPrecisionAware ? "fp32 as remainders" : "fp32"
    return "adam, main \(main), exp_avg \(options.firstMomentType.rawValue), "
      + "exp_avg_sq \(options.secondMomentType.rawValue)"
  }

  static func json(_ run: TrainingRun) -> JSONObject {
    let groups = run.groups
    return JSONObject([
      ("ranks", JSONValue(groups.world.size)), ("tp", JSONValue(groups.tp.size)),
      ("ep", JSONValue(groups.ep.size)), ("etp", JSONValue(groups.etp.size)),
      ("dp", JSONValue(groups.dp.size)),
      ("states", .string(states(run.optimizer.options))),
      ("distributed_optimizer", .bool(run.optimizer.options.isDistributed)),
      ("canonical_batch_chunks", JSONValue(run.optimizer.options.canonicalChunks)),
      ("kernels", .string("\(run.engine.level)")),
    ])
  }
}

extension FaultCode {
  static let noOptimizerState = FaultCode(
    "CKPT-140", .missingInput, "a run cannot go on because the checkpoint has no optimizer state")
  static let noRandomState = FaultCode(
    "CKPT-146", .missingInput, "a run cannot go on because the checkpoint has no random state")
}
