import Support

/// The training loop: step, log, evaluate, save, look for reasons to stop.
final class Trainer {
  let run: TrainingRun
  private let step: TrainingStep
  private let evaluation: Evaluation
  private let saver: CheckpointSaver
  private var record: StepRecorder
  private var stop: StopConditions
  private var window: StopWindow
  private let watch: HangWatch?
  private var lastSaved: Int?
  private var saidUncovered = false
  /// Saves in a row that found no room.
  private var failedSaves = 0
  private static let allowedFailures = 2

  /// - Parameter signals: those of the process; tests that share a process have none.
  init(
    _ run: TrainingRun, signals: @escaping () -> SignalRequest = { SignalFlags.take() }
  ) {
    self.run = run
    step = TrainingStep(run)
    evaluation = Evaluation(run)
    saver = CheckpointSaver(run)
    record = StepRecorder(run)
    stop = StopConditions(run, signals: signals)
    window = StopWindow(run.options.report.launch)
    watch = HangWatch(
      run.groups.world, directory: run.directory, limit: run.options.run.hangSeconds)
  }

  /// - Returns: 0 at the end of training, 75 when a signal or a time limit ended it early.
  /// - Throws: any fault; what was saved stays.
  func train() throws(Fault) -> ExitCode {
    defer { watch?.stop() }
    do throws(Fault) {
      return try trainToEnd()
    } catch {
      // What is copied already is not lost, where all ranks are still there to commit it.
      if error.isAgreed || run.groups.world.size == 1 { try? settle(waits: true) }
      throw error
    }
  }

  private func trainToEnd() throws(Fault) -> ExitCode {
    try record.begin()
    var reason = StopConditions.Reason.none
    while run.position.iteration < run.trainIterations, reason == .none {
      let epoch = run.source.state.epoch
      guard let batches = try nextBatches() else { break }
      let outcome = try step.make(batches)
      watch?.stepEnded()
      sayUncovered()
      try recordAgreed { (record) throws(Fault) in try record.add(outcome) }
      let iteration = run.position.iteration
      let endsEpoch = run.source.state.epoch > epoch
      if evaluation.isDue(iteration, endsEpoch: endsEpoch) { try evaluate(isFinal: false) }
      let request = try stop.check(iteration)
      reason = request.reason
      try settle(waits: false)
      if isSaveDue(iteration, endsEpoch: endsEpoch) || request.saves {
        try save(isLast: reason != .none)
      }
    }
    try settle(waits: true)
    if lastSaved != run.position.iteration, run.position.iteration > 0 { try save(isLast: true) }
    if reason == .none, run.evalIterations > 0 { try evaluate(isFinal: true) }
    try run.optimizer.finishGather()
    let path = lastSaved.map { saver.path(of: $0) }
    try recordAgreed { (record) throws(Fault) in try record.finish(lastSaved: path, reason: reason)
    }
    return reason.exitCode
  }

  /// Once, after the first step, when it is known.
  private func sayUncovered() {
    let groups = run.optimizer.uncoveredGroups
    guard !groups.isEmpty, !saidUncovered else { return }
    saidUncovered = true
    run.logger.warning(
      "--overlap_grad_reduce: exchanges of \(groups.joined(separator: ", ")) wait for the computation; "
        + "the MPI library takes no calls from a second thread (MPI_THREAD_MULTIPLE)")
  }

  private func isSaveDue(_ iteration: Int, endsEpoch: Bool) -> Bool {
    if run.options.savesByEpoch { return endsEpoch }
    return iteration % run.options.checkpoint.saveInterval == 0
  }

  /// The micro-batches of the next step; nil when the data end, on all ranks alike.
  private func nextBatches() throws(Fault) -> [ModelRow]? {
    try run.groups.world.agreeing { () throws(Fault) -> [ModelRow]? in
      // First all batches: peers share them, so that no rank may stop between two.
      guard let batches = try run.source.next(run.microBatches) else { return nil }
      var rows: [ModelRow] = []
      // The last step of an epoch may have fewer, on all ranks alike.
      for batch in batches where !batch.inputIDs.isEmpty { rows.append(try run.row(batch)) }
      return rows
    }
  }

  /// The log is written by one rank; a full disk there ends the run on all.
  private func recordAgreed(_ body: (inout StepRecorder) throws(Fault) -> Void) throws(Fault) {
    var own = record
    try run.groups.world.agreeing { () throws(Fault) in try body(&own) }
    record = own
  }

  private func evaluate(isFinal: Bool) throws(Fault) {
    try run.optimizer.finishGather()
    record.pause()
    let result = try evaluation.evaluate(isFinal: isFinal)
    if let loss = result.losses.first?.value, loss < run.best?.loss ?? .infinity {
      run.best = (run.position.iteration, loss)
    }
    try recordAgreed { (record) throws(Fault) in try record.add(result) }
    record.resume()
  }

  /// Saves, or begins to save in the background after what is there has ended. A save that finds no
  /// room leaves the old checkpoint and lets training go on, twice.
  /// - Throws: `FILE-003` on all ranks for the third in a row, or the last of the run.
  private func save(isLast: Bool) throws(Fault) {
    try settle(waits: true)
    // A weight that did not arrive must not be saved.
    try run.optimizer.finishGather()
    record.pause()
    watch?.pause()
    defer {
      watch?.resume()
      record.resume()
    }
    try recordAgreed { (record) throws(Fault) in try record.flush() }
    let iteration = run.position.iteration
    do throws(Fault) {
      let start = Clock.monotonicSeconds()
      let isThere = try saver.save(try record.windowToSave(), waits: isLast)
      if let text = window.warning(save: Clock.monotonicSeconds() - start) {
        run.logger.warning(text)
      }
      if isThere { saved(iteration) }
    } catch {
      try tolerate(error, iteration: iteration, isLast: isLast)
    }
  }

  /// Commits the save of the background; unless `waits`, only when all ranks have written.
  private func settle(waits: Bool) throws(Fault) {
    guard let iteration = saver.pendingIteration else { return }
    record.pause()
    watch?.pause()
    defer {
      watch?.resume()
      record.resume()
    }
    do throws(Fault) {
      if try saver.commitPending(waits: waits) { saved(iteration) }
    } catch {
      try tolerate(error, iteration: iteration, isLast: false)
    }
  }

  private func saved(_ iteration: Int) {
    lastSaved = iteration
    failedSaves = 0
  }

  private func tolerate(_ fault: Fault, iteration: Int, isLast: Bool) throws(Fault) {
    guard fault.code.exit == .cannotWrite, failedSaves < Trainer.allowedFailures, !isLast else {
      throw fault
    }
    failedSaves += 1
    run.logger.warning(
      "iteration \(iteration) was NOT saved (\(failedSaves) in a row); training goes on: "
        + (fault.place.map { "\($0): " } ?? "") + fault.message)
  }
}
