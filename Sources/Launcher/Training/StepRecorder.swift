import Foundation
import Optim
import Parallel
import Support

/// Gathers what steps give until it is logged, keeps the time, shows progress.
struct StepRecorder {
  private let run: TrainingRun
  /// Since the last logged step; its `channels` are filled only when it is saved.
  private var window: LogWindowState
  private var channels: [String: LogWindowState.ChannelSum]
  private var flops = 0.0
  private var sinceLog = 0
  private var trainedTokens = 0
  private var trainingSeconds = 0.0
  private var intervalSeconds = 0.0
  private var started = Date()
  private let begun = Date()
  private var progress: ProgressDisplay

  init(_ run: TrainingRun) {
    self.run = run
    window = run.restoredWindow
    channels = window.channels(rank: run.groups.dp.rank, of: run.groups.dp.size)
    progress = ProgressDisplay(
      total: run.trainIterations, interval: run.options.logging.logInterval,
      place: .current(run.options.report.world))
  }

  mutating func begin() throws(Fault) {
    let epoch = run.source.state.epoch
    run.logger.info(StartupText.epochStarts(epoch))
    resume()
  }

  /// Evaluation and saving do not count as training time.
  mutating func pause() {
    let seconds = Date().timeIntervalSince(started)
    trainingSeconds += seconds
    intervalSeconds += seconds
  }

  mutating func resume() { started = Date() }

  /// Takes a step; logs it when it is due.
  mutating func add(_ outcome: StepOutcome) throws(Fault) {
    pause()
    resume()
    sinceLog += 1
    let loss = outcome.total.mean
    if loss.isFinite {
      window.losses.append(loss)
    } else {
      window.notFinite += 1
    }
    window.tokens += outcome.total
    flops += outcome.flops
    if let value = outcome.loadBalancing { window.balancing.append(value) }
    if let value = outcome.zLoss { window.zLosses.append(value) }
    for (name, entry) in outcome.channels {
      let known = channels[name] ?? LogWindowState.ChannelSum(sum: 0, count: 0)
      channels[name] = LogWindowState.ChannelSum(
        sum: known.sum + entry.sum, count: known.count + entry.count)
    }
    if outcome.isSkipped { window.skipped += 1 }
    trainedTokens += outcome.total.tokens
    let iteration = run.position.iteration
    if run.groups.isFirst {
      progress.update(
        iteration, elapsedSeconds: trainingSeconds, note: "loss \(shortText(loss))")
    }
    let isDue = iteration == 1 || iteration % max(1, run.options.logging.logInterval) == 0
    let record = try self.record(outcome, isLogged: isDue)
    try run.log?.plot(record, timers: outcome.timers)
    guard isDue else { return }
    if run.groups.isFirst { progress.clear() }
    try run.log?.log(record)
    reset()
  }

  /// What a checkpoint keeps of the steps since the last logged one.
  /// - Communication: channel sums over dp, where they are asked for.
  func windowToSave() throws(Fault) -> LogWindowState {
    var saved = window
    if run.options.template.enableChannelLoss {
      try saved.gather(channels, over: run.groups.dp)
    }
    return saved
  }

  mutating func add(_ record: EvalRecord) throws(Fault) { try run.log?.log(record) }
  mutating func flush() throws(Fault) { try run.log?.flush() }

  private mutating func reset() {
    window = LogWindowState()
    channels = [:]
    flops = 0
    sinceLog = 0
    intervalSeconds = 0
  }

  private func record(_ outcome: StepOutcome, isLogged: Bool) throws(Fault) -> StepRecord {
    var record = StepRecord(
      iteration: run.position.iteration, trainIters: run.trainIterations,
      consumedSamples: run.position.consumedTrainSamples)
    record.secondsPerIteration = intervalSeconds / Double(max(1, sinceLog))
    record.memoryGiB = ProcessMemory.peakGiB
    record.elapsedSeconds = trainingSeconds
    record.learningRate = run.schedule.learningRate(samples: run.position.scheduledSamples)
    record.globalBatchSize = run.options.schedule.globalBatchSize
    // Without a finite loss since the last log, what the last step gave is the truth.
    record.losses = [
      NamedLoss("lm loss", window.losses.isEmpty ? outcome.total.mean : mean(window.losses))
    ]
    if !window.balancing.isEmpty {
      record.losses.append(NamedLoss("load_balancing_loss", mean(window.balancing)))
    }
    if !window.zLosses.isEmpty {
      record.losses.append(NamedLoss("z_loss", mean(window.zLosses)))
    }
    if isLogged, run.options.template.enableChannelLoss {
      record.losses += try ChannelLosses(channels).means(over: run.groups.dp)
    }
    record.tokenAccuracy = window.tokens.accuracy
    record.gradNorm = outcome.gradientNorm
    record.lossScale = outcome.lossScale
    record.skippedIterations = window.skipped
    record.nanIterations = window.notFinite
    let logging = run.options.logging
    if logging.logThroughput { record.throughput = throughput() }
    let isPlotted = run.position.iteration % max(1, logging.tensorboardLogInterval) == 0
    if logging.logParamsNorm, isLogged || isPlotted {
      record.paramsNorm = try WeightNorm(run: run).value()
    }
    return record
  }

  /// Model TFLOP/s of a rank since the last log, by the real lengths of the documents.
  private func throughput() -> Double {
    flops / max(1e-9, intervalSeconds) / Double(run.groups.world.size) / 1e12
  }

  /// Closes the log and says where everything lies.
  mutating func finish(lastSaved: String?, reason: StopConditions.Reason) throws(Fault) {
    progress.finish()
    if let text = reason.text { run.logger.info(text) }
    if reason == .none, let epochs = run.options.schedule.maxEpochs,
      run.source.state.epoch >= epochs
    {
      run.logger.info(StartupText.epochsCompleted(epochs))
    }
    guard let log = run.log else { return }
    var summary = log.summary
    summary.lastIteration = run.position.iteration
    summary.lastCheckpoint = lastSaved
    summary.totalSeconds = Date().timeIntervalSince(begun)
    summary.tokens = trainedTokens
    try log.close()
    Terminal.write(summary.text + "\n", to: .output)
  }

  private func mean(_ values: [Double]) -> Double {
    values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
  }

  private func shortText(_ value: Double) -> String { String(format: "%.4f", value) }
}

/// Mean losses by channel over the data-parallel ranks.
struct ChannelLosses {
  private let own: [String: LogWindowState.ChannelSum]
  init(_ own: [String: LogWindowState.ChannelSum]) { self.own = own }

  /// - Communication: two all-gathers of a few bytes over dp.
  func means(over dp: any Communicator) throws(Fault) -> [NamedLoss] {
    var window = LogWindowState()
    try window.gather(own, over: dp)
    // Another number of ranks than there is: all of them on the first.
    let all = window.channels(rank: 0, of: 0)
    return all.sorted { $0.key < $1.key }.map {
      NamedLoss("loss_\($0.key)", $0.value.count > 0 ? $0.value.sum / Double($0.value.count) : 0)
    }
  }
}

extension Communicator {
  /// A text of every rank, in rank order.
  func allTexts(_ text: String) throws(Fault) -> [String] {
    guard size > 1 else { return [text] }
    let own = Array(text.utf8)
    var counts = [Int64](repeating: 0, count: size)
    counts[rank] = Int64(own.count)
    try counts.withUnsafeMutableBufferPointer { (p) throws(Fault) in try allReduceSum(p) }
    var all = [UInt8](repeating: 0, count: Int(counts.reduce(0, +)))
    try own.withUnsafeBufferPointer { (send) throws(Fault) in
      try all.withUnsafeMutableBufferPointer { (receive) throws(Fault) in
        try allGather(
          UnsafeRawBufferPointer(send), into: UnsafeMutableRawBufferPointer(receive),
          counts: counts.map { Int($0) })
      }
    }
    var texts: [String] = []
    var at = 0
    for count in counts {
      texts.append(String(decoding: all[at..<at + Int(count)], as: UTF8.self))
      at += Int(count)
    }
    return texts
  }
}
