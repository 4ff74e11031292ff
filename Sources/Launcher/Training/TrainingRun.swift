import DataPipeline
import Foundation
import Model
import Optim
import Parallel
import Support
import Tensor

/// Everything one rank trains with, made from the options before the first step.
final class TrainingRun {
  let options: TrainingOptions
  let groups: RankGroups
  let engine: Engine
  let folder: ModelFolder
  let model: QwenModel
  let plan: RecomputePlan
  /// What the model is trained in.
  let precision: PrecisionFlags.Compute
  let data: DataSetup
  let optimizer: DistributedOptimizer
  let schedule: Schedule
  let source: BatchSource
  let validation: BatchSource?
  let trainIterations: Int
  let evalIterations: Int
  let directory: String
  let logger: Logger
  /// On the last rank only.
  let log: RunLog?
  var position: TrainingPosition
  /// Factor on the loss; 1 but for fp16.
  var lossScaler: LossScaler
  /// What the log had gathered when the checkpoint was saved that the run goes on from.
  var restoredWindow = LogWindowState()
  /// Seed of all random numbers; that of the checkpoint when the run goes on from one.
  var seed: Int
  /// The evaluation with the lowest loss so far.
  var best: (iteration: Int, loss: Double)?

  /// Micro-batches of one step on this rank.
  var microBatches: Int {
    options.schedule.globalBatchSize / (options.schedule.microBatchSize * groups.dp.size)
  }

  /// Rows that all ranks take in one step of an evaluation, and the micro-batches of a rank in it.
  var evaluationBatch: (rows: Int, microBatches: Int) {
    guard options.form == .swift else {
      return (options.schedule.globalBatchSize, microBatches)
    }
    return (options.swift.perDeviceEvalBatchSize * groups.dp.size, 1)
  }

  init(_ parts: TrainingBuilder.Parts) {
    options = parts.options
    groups = parts.groups
    engine = parts.engine
    folder = parts.folder
    model = parts.model
    plan = parts.plan
    precision = parts.precision
    data = parts.data
    optimizer = parts.optimizer
    schedule = parts.schedule
    source = parts.source
    validation = parts.validation
    trainIterations = parts.trainIterations
    evalIterations = parts.evalIterations
    directory = parts.directory
    logger = parts.logger
    log = parts.log
    position = parts.position
    lossScaler = LossScaler(parts.precision, parts.options.extra)
    seed = parts.options.schedule.seed
  }
}

/// How far a run has come: what a checkpoint must hold besides weights and optimizer to go on as if it
/// had never stopped. Random numbers are counter-based, so nothing else is needed.
struct TrainingPosition: Equatable {
  var iteration = 0
  var consumedTrainSamples = 0
  var consumedValidationSamples = 0
  /// Samples of steps that changed the weights: what the schedule counts.
  var scheduledSamples = 0
  var skippedSteps = 0
}

extension Communicator {
  /// Runs what may fail on one rank only; a fault of one becomes the fault of all.
  func agreeing<R>(_ body: () throws(Fault) -> R) throws(Fault) -> R {
    // Alone there is nobody to tell, and the place of the fault stays as it is.
    guard size > 1 else { return try body() }
    var fault: Fault?
    var result: R?
    do throws(Fault) { result = try body() } catch { fault = error }
    try agree(fault)
    guard let result else { throw Fault(.internalError, "an agreed step has no result") }
    return result
  }

  /// A text of rank 0 on every rank.
  func shared(_ text: String) throws(Fault) -> String {
    guard size > 1 else { return text }
    var count = [Int64(text.utf8.count)]
    try count.withUnsafeMutableBufferPointer { (p) throws(Fault) in
      try broadcast(UnsafeMutableRawBufferPointer(p), from: 0)
    }
    var bytes = rank == 0 ? Array(text.utf8) : [UInt8](repeating: 0, count: Int(count[0]))
    try bytes.withUnsafeMutableBufferPointer { (p) throws(Fault) in
      try broadcast(UnsafeMutableRawBufferPointer(p), from: 0)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
