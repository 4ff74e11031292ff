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
    if !options.checkpoint.noSaveOptim {
      logger.warning(
        "checkpoints hold weights and position; optimizer states are not saved yet, so going on "
          + "needs --no_load_optim true")
    }
  }

  /// Counts of rows with reasons, lengths, and one sample as the model sees it.
  func sayData(_ prepared: PreparedData, _ data: DataSetup, _ logger: Logger) {
    for line in prepared.report.lines { logger.info(line) }
    for line in prepared.statisticsLines { logger.info(line) }
    guard options.run.showSamples > 0, case .indexed(let samples) = prepared.train else { return }
    for index in 0..<min(options.run.showSamples, samples.count) {
      guard let row = (try? samples.documents(index))?.first else { continue }
      for line in data.template.display(row) { logger.info(line) }
    }
  }

  func sayModel(
    _ model: QwenText, _ optimizer: DistributedOptimizer, _ engine: Engine, _ logger: Logger
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
    logger.info("kernels: \(engine.level), \(engine.threads) threads")
  }
}
