import DataPipeline
import Foundation
import Model
import Optim
import Parallel
import Support
import Tensor

extension TrainingRun {
  /// A micro-batch as the model takes it.
  func row(_ batch: PackedBatch) throws(Fault) -> ModelRow {
    let t = batch.inputIDs.count
    var sequences: [Range<Int>]?
    if !options.data.paddingFree, batch.sampleCount > 0 {
      let s = t / batch.sampleCount
      sequences = (0..<batch.sampleCount).map { $0 * s..<($0 + 1) * s }
    }
    return try ModelRow(
      batch,
      multiple: ModelRow.multiple(
        tp: groups.tp.size, sequenceParallel: options.parallel.sequenceParallel),
      padID: data.padID, vocabulary: folder.config.vocabularySize, paddedSequences: sequences,
      scalesByProbability: options.template.enableDFTLoss,
      vision: try data.media?.vision(of: batch, on: engine), on: engine)
  }

  func setting(
    _ row: ModelRow, seeds: LossSeeds, training: Bool, statistics: RouterStatistics? = nil
  ) -> Setting {
    var setting = Setting(
      engine: engine, groups: groups.model, sequenceParallel: options.parallel.sequenceParallel,
      layout: row.layout, isTraining: training, seeds: seeds, recompute: plan.modules,
      statistics: statistics)
    if groups.laneCount(canonicalChunks: options.optimizer.canonicalBatchChunks) > 1 {
      setting.expertLanes = groups.expertLanes
    }
    return setting
  }

  /// What the dropout of adapters in a micro-batch is drawn from: the step and the place in the global
  /// batch, so that neither the layout nor a stop in between changes it.
  func dropoutKey(microBatch: Int) -> UInt64? {
    guard let plan = model.adapters, plan.dropout > 0 else { return nil }
    let random = CounterRandom(
      seed: UInt64(bitPattern: Int64(seed)), purpose: "adapter dropout")
    let perStep = options.schedule.globalBatchSize / options.schedule.microBatchSize
    return random.bits(position.iteration * perStep + microBatch)
  }

  var normalization: LossNormalization {
    options.precision.calculatePerTokenLoss ?? true ? .perToken : .perMicroBatch
  }
}

/// What one step gave; equal on all ranks.
struct StepOutcome {
  /// Losses, trained and right tokens of the global batch.
  var total: LossTally.Total
  var gradientNorm: Double
  var isSkipped: Bool
  /// The rate this step was made with.
  var learningRate: Double
  var loadBalancing: Double?
  var zLoss: Double?
  /// The factor on the loss after this step's update of it, i.e. that of the next step.
  var lossScale: Double
  /// Model operations of the step on all ranks; 0 unless they are logged.
  var flops = 0.0
  /// Seconds of the parts of the step on this rank.
  var timers: [(name: String, seconds: Double)] = []
  /// Loss sums and token counts by channel, of this data-parallel rank.
  var channels: [String: (sum: Double, count: Int)]
}

/// What a micro-batch adds to the tally of its step.
struct TokenSums {
  let loss: Double
  let right: Int
  init(_ result: VocabParallelCrossEntropy.Result) {
    loss = result.perToken.reduce(0.0) { $0 + Double($1) }
    right = result.rightTokens
  }
}

/// One optimizer step: micro-batches forward and backward, then the judged update.
struct TrainingStep {
  let run: TrainingRun

  init(_ run: TrainingRun) { self.run = run }

  /// - Throws: `OPTIM-20x` when loss or gradient is not finite, before anything was changed;
  ///   `COMM-…`, `MEM-001`.
  func make(_ rows: [ModelRow]) throws(Fault) -> StepOutcome {
    let dp = run.groups.dp
    let own = rows.reduce(0) { $0 + $1.trainedTokens }
    let tokens = try LossNormalization.globalTokens(own, over: dp)
    let statistics = run.folder.config.experts == nil ? nil : RouterStatistics()
    var tally = LossTally()
    var channels: [String: (sum: Double, count: Int)] = [:]
    let policy = run.stepPolicy
    let scale = run.lossScaler.scale
    let start = Clock.monotonicSeconds()
    var bad: Fault?
    run.optimizer.beginStep(microBatches: rows.count)
    for (m, row) in rows.enumerated() {
      try run.optimizer.beginMicroBatch(m)
      let result = try microBatch(
        row, number: m * dp.size + dp.rank, tokens: tokens, of: rows.count, statistics)
      run.optimizer.endMicroBatch(m)
      let sums = TokenSums(result)
      bad = bad ?? judge(Float(sums.loss), policy)
      tally.add(sum: sums.loss, tokens: row.trainedTokens, right: sums.right)
      if run.options.template.enableChannelLoss { row.addChannels(result.perToken, to: &channels) }
    }
    // Only now: ranks that go on would wait in the exchange of a later micro-batch.
    try run.groups.world.agree(bad)
    let computed = Clock.monotonicSeconds()
    let lr = run.schedule.learningRate(samples: run.position.scheduledSamples)
    let result = try run.optimizer.step(
      StepInput(
        iteration: run.position.iteration + 1, learningRate: lr,
        weightDecay: run.schedule.weightDecay(samples: run.position.scheduledSamples),
        clip: run.options.optimizer.clipGrad, gradientScale: 1 / scale, policy: policy))
    let updated = Clock.monotonicSeconds()
    run.lossScaler.update(overflow: result.isSkipped)
    advance(skipped: result.isSkipped)
    let total = try tally.total(over: dp)
    let router = try statistics.map { (s) throws(Fault) in try means(s) }
    var outcome = StepOutcome(
      total: total, gradientNorm: result.gradientNorm,
      isSkipped: result.isSkipped, learningRate: lr,
      loadBalancing: router?.0, zLoss: router?.1, lossScale: run.lossScaler.scale,
      channels: channels)
    outcome.timers = timers(compute: computed - start, update: updated - computed)
    if run.options.logging.logThroughput {
      outcome.flops = try dp.allDoubles(rows.reduce(0) { $0 + operations($1) }).reduce(0, +)
    }
    return outcome
  }

  /// What the exchanges of gradients and weights cost is how long the rank was held up by them: all of
  /// it, unless they run beside the computation.
  private func timers(compute: Double, update: Double) -> [(name: String, seconds: Double)] {
    let times = run.optimizer.exchangeTimes
    return [
      ("forward-backward", compute), ("optimizer", update),
      ("all-grads-sync", times.reduceWait), ("params-all-gather", times.gatherWait),
    ]
  }

  /// Model operations of a micro-batch by the real lengths of its documents; padding, which is
  /// documents of one token, does not count.
  private func operations(_ row: ModelRow) -> Double {
    let lengths = zip(row.documentStarts.dropFirst(), row.documentStarts).map { Int($0 - $1) }
      .filter { $0 > 1 }
    return run.folder.config.trainingFlops(
      tokens: lengths.reduce(0, +), documents: lengths)
  }

  /// - Returns: the fault of a loss that is not finite.
  private func judge(_ loss: Float, _ policy: StepPolicy) -> Fault? {
    do throws(Fault) {
      try policy.judge(
        loss: loss, iteration: run.position.iteration + 1, world: run.groups.world)
      return nil
    } catch {
      return error
    }
  }

  private func microBatch(
    _ row: ModelRow, number: Int, tokens: Int, of microBatches: Int,
    _ statistics: RouterStatistics?
  ) throws(Fault) -> VocabParallelCrossEntropy.Result {
    let mode = run.normalization
    let dp = run.groups.dp.size
    let scale = run.lossScaler.scale
    var seeds = LossSeeds()
    seeds.token = Float(
      scale
        * mode.seed(
          tokens: row.trainedTokens, allTokens: tokens, microBatches: microBatches,
          dataParallel: dp))
    seeds.auxiliaryTimesTokens = mode == .perToken
    let auxiliary: Float =
      mode == .perToken
      ? (tokens > 0 ? 1 / Float(tokens) : 0) : 1 / Float(microBatches * dp)
    seeds.auxiliary = Float(scale) * auxiliary
    let tape = Tape()
    var setting = run.setting(row, seeds: seeds, training: true, statistics: statistics)
    setting.dropoutKey = run.dropoutKey(microBatch: number)
    setting.backward = run.optimizer.backwardWatch
    let context = Context(tape: tape, setting: setting)
    let result = try run.model.loss(row.input, plan: run.plan, in: context)
    try tape.seed(result.loss, with: try Tensor([1], [1], on: run.engine))
    try tape.backward()
    return result
  }

  private func advance(skipped: Bool) {
    let batch = run.options.schedule.globalBatchSize
    run.position.iteration += 1
    run.position.consumedTrainSamples += batch
    if skipped {
      run.position.skippedSteps += 1
    } else {
      run.position.scheduledSamples += batch
    }
  }

  /// Mean over layers, micro-batches and data-parallel ranks of what the routers reported.
  private func means(_ statistics: RouterStatistics) throws(Fault) -> (Double?, Double?) {
    let options = run.options.experts
    let calls = max(1, statistics.layers) * run.groups.dp.size
    var sums = [Float(statistics.auxiliaryLoss), Float(statistics.zLoss)]
    try run.groups.world.sum(&sums)
    let balances = options.loadBalancingType.map { $0 == .auxLoss || $0 == .seqAuxLoss } ?? true
    return (
      balances ? Double(sums[0]) / Double(calls) : nil,
      options.zLossCoeff == nil ? nil : Double(sums[1]) / Double(calls)
    )
  }
}
