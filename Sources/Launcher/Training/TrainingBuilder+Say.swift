import Checkpoint
import DataPipeline
import Model
import Optim
import Support
import Tensor

extension TrainingBuilder {
  /// What was derived, what should be acted on, what has no effect here.
  func sayOptions(_ logger: Logger) {
    logger.info(StartupText.world(options.report.world))
    for note in options.report.notes { logger.info(note) }
    for warning in options.report.warnings { logger.warning(warning) }
    if let line = options.report.inertLine { logger.info(line) }
  }

  /// Counts of rows with reasons, lengths, and one sample as the model sees it.
  func sayData(_ prepared: PreparedData, _ data: DataSetup, _ logger: Logger) {
    for line in prepared.report.lines { logger.info(line) }
    for line in prepared.statisticsLines { logger.info(line) }
    guard options.run.showSamples > 0 else { return }
    guard case .indexed(let samples) = prepared.train else {
      logger.info("streamed rows are not shown before training")
      return
    }
    var left = options.run.showSamples
    for index in 0..<samples.count where left > 0 {
      for row in ((try? samples.documents(index)) ?? []).prefix(left) {
        for line in data.template.display(row) { logger.info(line) }
        left -= 1
      }
    }
  }

  /// What was given for models of another kind.
  func sayModelOptions(_ folder: ModelFolder, _ logger: Logger) {
    guard folder.config.experts == nil else { return }
    let given = options.table.specs.filter {
      $0.group == .experts && $0.effect == .used && options.report.parsed.isGivenByUser($0.name)
    }
    guard !given.isEmpty else { return }
    logger.info(
      "without effect on a model without experts: "
        + given.map { "--\($0.name)" }.joined(separator: ", "))
  }

  /// Where the weights came from, and whether that is the newest checkpoint.
  func sayLoaded(_ loaded: LoadedCheckpoint?, _ logger: Logger) {
    guard let loaded else { return }
    logger.info("loaded \(loaded.folder) of iteration \(loaded.iteration)")
    guard let newest = try? Tracker.read(loaded.root), !loaded.folder.hasSuffix(newest.folder),
      options.checkpoint.load == loaded.root
    else { return }
    logger.warning("\(newest.folder) is damaged; the run goes on from an older checkpoint")
  }

  func sayModel(
    _ model: QwenModel, _ optimizer: DistributedOptimizer, _ setup: ModelSetup, _ logger: Logger
  ) {
    let all = model.parameters.reduce(0) { $0 + $1.count }
    let trained = model.parameters.filter(\.isTrainable).reduce(0) { $0 + $1.count }
    logger.info(
      StartupText.parameters(
        rank: world.rank, model: model.config.family.rawValue, all: all, trainable: trained))
    let bytes = optimizer.bytes
    func mib(_ count: Int) -> String { "\((count + (1 << 19)) >> 20) MiB" }
    logger.info(
      "memory of a rank: weights \(mib(model.parameters.reduce(0) { $0 + $1.tensor.byteCount })), "
        + "gradients \(mib(bytes.gradients)), optimizer near \(mib(bytes.near)), "
        + "far \(mib(bytes.far))")
    logger.info("kernels: \(setup.engine.level), \(setup.engine.threads) threads")
    sayPrecision(setup.precision, logger)
  }

  private func sayPrecision(_ precision: PrecisionFlags.Compute, _ logger: Logger) {
    let extra = options.extra
    switch precision {
    case .bf16: logger.info("training in bf16")
    case .fp32: logger.info("training in fp32")
    case .fp16:
      let scaler = LossScaler(.fp16, extra)
      logger.info(
        "training in fp16: weights are fp16 values held in fp32 memory, arithmetic is fp32; "
          + "\(scaler.isDynamic ? "dynamic" : "fixed") loss scale \(scaler.scale)")
      if scaler.isDynamic, extra.given.contains("check_for_nan_in_loss_and_grad") {
        logger.info(
          "check_for_nan_in_loss_and_grad has no effect: the loss scale leaves such steps out")
      }
      return
    }
    let unused = ExtraFlags.scaleNames.filter { extra.given.contains($0) }
    if !unused.isEmpty {
      logger.info("without effect, only fp16 has a loss scale: \(unused.joined(separator: ", "))")
    }
  }
}
