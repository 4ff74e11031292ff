import DataPipeline
import Model
import Optim
import Parallel
import Support
import Tensor

/// Loss on the validation data: the same rows, in order, every time; no dropout, no auxiliary loss, and
/// the capacity of experts as in training. The mean is over tokens; in the form of swift sft over
/// batches, as there.
struct Evaluation {
  let run: TrainingRun

  init(_ run: TrainingRun) { self.run = run }

  /// - Parameter endsEpoch: whether the step took the last rows of an epoch.
  func isDue(_ iteration: Int, endsEpoch: Bool) -> Bool {
    guard run.evalIterations > 0 else { return false }
    if run.options.evaluatesByEpoch { return endsEpoch }
    guard let interval = run.options.logging.evalInterval else { return false }
    return iteration % max(1, interval) == 0
  }

  /// - Returns: the record to be logged.
  /// - Throws: `OPTIM-202` for a loss that is not finite, `COMM-…`.
  func evaluate(isFinal: Bool) throws(Fault) -> EvalRecord {
    guard let source = run.validation else {
      throw Fault(.internalError, "an evaluation without validation data")
    }
    let batch = run.evaluationBatch.rows
    if isFinal {
      run.logger.info(StartupText.evaluating(samples: run.evalIterations * batch))
    }
    try source.restore(SamplerState())
    var tally = LossTally()
    for step in 0..<run.evalIterations {
      if isFinal { run.logger.info(StartupText.evaluating(step + 1, of: run.evalIterations)) }
      let rows = try self.run.groups.world.agreeing { () throws(Fault) -> [ModelRow] in
        try self.rows(source)
      }
      var results: [TokenSums] = []
      for row in rows { results.append(try loss(row)) }
      try run.groups.world.agreeing { () throws(Fault) in
        for result in results {
          try StepPolicy.stop.judge(
            loss: Float(result.loss), iteration: run.position.iteration, world: run.groups.world)
        }
      }
      for (row, result) in zip(rows, results) {
        tally.add(sum: result.loss, tokens: row.trainedTokens, right: result.right)
      }
      run.position.consumedValidationSamples += batch
    }
    let total = try tally.total(over: run.groups.dp)
    let loss = run.options.form == .swift ? total.meanOfBatches : total.mean
    var record = EvalRecord(
      iteration: run.position.iteration, losses: [NamedLoss("lm loss", loss)])
    record.tokenAccuracy = total.accuracy
    record.isFinal = isFinal
    record.consumedSamples = run.position.consumedTrainSamples
    return record
  }

  /// The micro-batches of one evaluation step; the data begin again when they end.
  private func rows(_ source: BatchSource) throws(Fault) -> [ModelRow] {
    // First all batches: peers share them, so that no rank may stop between two.
    var batches: [PackedBatch] = []
    while batches.count < run.evaluationBatch.microBatches {
      if let batch = try source.next() {
        batches.append(batch)
      } else {
        try source.restore(SamplerState())
        guard let batch = try source.next() else {
          throw Fault(.internalError, "validation data give no micro-batch (\(batches.count))")
        }
        batches.append(batch)
      }
    }
    var rows: [ModelRow] = []
    for batch in batches { rows.append(try run.row(batch)) }
    return rows
  }

  private func loss(_ row: ModelRow) throws(Fault) -> TokenSums {
    let context = Context(
      tape: Tape(recording: false),
      setting: run.setting(row, seeds: LossSeeds(), training: false))
    let result = try run.model.loss(row.input, plan: RecomputePlan(), in: context)
    return TokenSums(result)
  }
}
