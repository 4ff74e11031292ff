import Support

/// The training loop: step, log, evaluate, save, look for reasons to stop.
final class Trainer {
  let run: TrainingRun
  private let step: TrainingStep
  private let evaluation: Evaluation
  private let saver: CheckpointSaver
  private var record: StepRecorder
  private var stop: StopConditions
  private var lastSaved: Int?

  init(_ run: TrainingRun) {
    self.run = run
    step = TrainingStep(run)
    evaluation = Evaluation(run)
    saver = CheckpointSaver(run)
    record = StepRecorder(run)
    stop = StopConditions(run)
  }

  /// - Returns: 0 at the end of training, 75 when a signal or a time limit ended it early.
  /// - Throws: any fault; what was saved stays.
  func train() throws(Fault) -> ExitCode {
    try record.begin()
    var reason = StopConditions.Reason.none
    while run.position.iteration < run.trainIterations, reason == .none {
      guard let batches = try nextBatches() else { break }
      let outcome = try step.make(batches)
      try record.add(outcome)
      let iteration = run.position.iteration
      if evaluation.isDue(iteration) { try evaluate(isFinal: false) }
      let request = try stop.check(iteration)
      reason = request.reason
      if iteration % run.options.checkpoint.saveInterval == 0 || request.saves {
        try save()
      }
    }
    if lastSaved != run.position.iteration, run.position.iteration > 0 { try save() }
    if reason == .none, run.evalIterations > 0 { try evaluate(isFinal: true) }
    try record.finish(lastSaved: lastSaved.map { saver.path(of: $0) }, reason: reason)
    return reason.exitCode
  }

  /// The micro-batches of the next step; nil when the data end, on all ranks alike.
  private func nextBatches() throws(Fault) -> [ModelRow]? {
    try run.groups.world.agreeing { () throws(Fault) -> [ModelRow]? in
      var rows: [ModelRow] = []
      for _ in 0..<run.microBatches {
        guard let batch = try run.source.next() else { return nil }
        rows.append(try run.row(batch))
      }
      return rows
    }
  }

  private func evaluate(isFinal: Bool) throws(Fault) {
    record.pause()
    try record.add(try evaluation.evaluate(isFinal: isFinal))
    record.resume()
  }

  private func save() throws(Fault) {
    record.pause()
    try record.flush()
    try saver.save()
    lastSaved = run.position.iteration
    record.resume()
  }
}
