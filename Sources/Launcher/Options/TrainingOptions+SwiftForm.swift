import Foundation
import Support

extension TrainingOptions {
  /// Translates the flags of `swift sft` to the records that the trainer reads.
  mutating func applySwiftForm(_ complaints: inout Complaints) {
    report.notes.append(
      "the options are read in the form of swift sft: lora, 3 epochs, checkpoints every 500 steps "
        + "unless given otherwise")
    let given = report.parsed
    applyBatch(given)
    applySchedule(given)
    if !given.isGiven("save") { checkpoint.save = swift.outputDir }
    if !given.isGiven("save_interval") { checkpoint.saveInterval = swift.saveSteps }
    if !given.isGiven("eval_interval") {
      logging.evalInterval = swift.evalSteps ?? checkpoint.saveInterval
    }
    if !given.isGiven("log_interval") { logging.logInterval = swift.loggingSteps }
    if let folder = swift.resumeFromCheckpoint {
      if tuner.trainType == .lora {
        if tuner.adapterLoad == nil { tuner.adapterLoad = folder }
      } else if !given.isGiven("load") {
        checkpoint.load = folder
      }
    }
    if swift.saveOnlyModel { checkpoint.noSaveOptim = true }
    if swift.saveStrategy == .no, !given.isGiven("save_interval"), !given.isGiven("save_steps") {
      checkpoint.saveInterval = Int.max
      report.notes.append("save_strategy no: the last checkpoint only is written")
    }
    if swift.evalStrategy == .no { logging.evalIters = 0 }
    if !given.isGiven("num_workers") { data.numWorkers = swift.dataloaderNumWorkers ?? 1 }
    if !swift.trainDataloaderShuffle, !given.isGiven("dataloader_type") {
      data.dataloaderType = .single
    }
    if !given.isGiven("moe_aux_loss_coeff") { experts.auxLossCoeff = swift.routerAuxLossCoef }
    applyRecompute(given)
    recompute.vision = swift.visionGradientCheckpointing ?? swift.gradientCheckpointing
    applyDeepspeed(&complaints)
    for target in swift.reportTo where !["tensorboard", "all", "none"].contains(target) {
      report.warnings.append(
        "report_to \(target): curves go to TensorBoard files and logging.jsonl")
    }
  }

  /// `--save_strategy epoch`, unless an interval is given.
  var savesByEpoch: Bool {
    form == .swift && swift.saveStrategy == .epoch && !report.parsed.isGiven("save_interval")
      && !report.parsed.isGiven("save_steps")
  }

  /// `--eval_strategy epoch`, unless an interval is given.
  var evaluatesByEpoch: Bool {
    form == .swift && swift.evalStrategy == .epoch && !report.parsed.isGiven("eval_interval")
      && !report.parsed.isGiven("eval_steps")
  }

  private mutating func applyBatch(_ given: ParsedOptions) {
    if !given.isGiven("micro_batch_size") {
      schedule.microBatchSize = swift.perDeviceTrainBatchSize
    }
    guard !given.isGiven("global_batch_size") else { return }
    let batch = schedule.microBatchSize
    let ranks = report.world.size
    let whole = batch.multipliedReportingOverflow(by: ranks)
    let accumulation =
      swift.gradientAccumulationSteps
      ?? (whole.overflow ? 1 : max(1, (16 + whole.partialValue - 1) / whole.partialValue))
    swift.gradientAccumulationSteps = accumulation
    let rows = batch.multipliedReportingOverflow(by: accumulation)
    let global = rows.partialValue.multipliedReportingOverflow(by: dataParallelSize)
    schedule.globalBatchSize = rows.overflow || global.overflow ? Int.max : global.partialValue
  }

  private mutating func applySchedule(_ given: ParsedOptions) {
    if !given.isGiven("lr") { schedule.lr = swift.learningRate }
    if !given.isGiven("lr_decay_style") {
      schedule.lrDecayStyle = SwiftFormFlags.schedulers[swift.lrSchedulerType] ?? .cosine
    }
    if !given.isGiven("lr_warmup_fraction"), !given.isGiven("lr_warmup_iters"),
      swift.warmupRatio > 0
    {
      schedule.lrWarmupFraction = swift.warmupRatio
    }
    if !given.isGiven("clip_grad") { optimizer.clipGrad = swift.maxGradNorm }
    if !given.isGiven("train_iters"), swift.maxSteps > 0 { schedule.trainIters = swift.maxSteps }
    if given.isGiven("max_epochs"), let epochs = schedule.maxEpochs {
      swift.numTrainEpochs = Double(epochs)
    } else if swift.numTrainEpochs < 1e9 {
      // A started epoch counts; the trainer ends inside it by `swift.numTrainEpochs`.
      schedule.maxEpochs = Int(swift.numTrainEpochs.rounded(.up))
    }
  }

  private mutating func applyRecompute(_ given: ParsedOptions) {
    guard !given.isGiven("recompute_granularity") else { return }
    if swift.gradientCheckpointing {
      recompute.granularity = .full
      if recompute.method == nil { recompute.method = .uniform }
      if recompute.numLayers == nil { recompute.numLayers = 1 }
    }
  }

  /// `zero1` to `zero3` split the optimizer state, `zero0` does not; a file names its stage.
  private mutating func applyDeepspeed(_ complaints: inout Complaints) {
    guard let name = swift.deepspeed else { return }
    let known: [String: Bool] = [
      "zero0": false, "zero1": true, "zero2": true, "zero3": true, "zero2_offload": true,
      "zero3_offload": true,
    ]
    var splits = known[name]
    if splits == nil, let content = FileManager.default.contents(atPath: PathText.expanded(name)),
      let json = try? JSONValue.parse(String(decoding: content, as: UTF8.self))
    {
      splits = (json["zero_optimization"]?["stage"]?.int ?? 0) > 0
    }
    guard let splits else {
      complaints.add(
        .badOptionValue, "deepspeed",
        "expected one of \(known.keys.sorted().joined(separator: ", ")) or a JSON file, got \"\(name)\""
      )
      return
    }
    parallel.useDistributedOptimizer = splits
    report.notes.append(
      "deepspeed \(name): use_distributed_optimizer=\(splits); its other settings have no effect")
  }
}
