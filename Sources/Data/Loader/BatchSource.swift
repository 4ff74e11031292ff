import Support

/// The micro-batches of one data-parallel rank in training order, with an exact position.
///
/// One thread uses it. All ranks of a dp index (tensor, context and pipeline peers) get the same
/// batches from equal sources.
public final class BatchSource {
  /// How micro-batches form steps; nil for a stream, whose length is not known.
  public let schedule: TrainingSchedule?

  private let samples: PreparedSamples
  private let plan: BatchPlan
  private var feed: any BatchFeed
  private var prefetcher: Prefetcher?
  private var index: Int

  /// - Throws: `DATA-111` if batch sizes and rows do not fit together, `DATA-112` if `state` belongs
  ///   to other data or lies inside a micro-batch.
  public init(
    _ samples: PreparedSamples, plan: BatchPlan, from state: SamplerState = SamplerState()
  ) throws(Fault) {
    guard (0..<max(plan.dataParallelSize, 1)).contains(plan.dataParallelRank) else {
      throw Fault(
        .internalError, "data-parallel rank \(plan.dataParallelRank) of \(plan.dataParallelSize)")
    }
    self.samples = samples
    self.plan = plan
    schedule = try Self.schedule(samples, plan)
    feed = try Self.feed(samples, plan, schedule)
    index = 0
    try restore(state)
  }

  deinit { prefetcher?.stop() }

  private static func schedule(
    _ samples: PreparedSamples, _ plan: BatchPlan
  ) throws(Fault) -> TrainingSchedule? {
    guard case .indexed(let source) = samples else { return nil }
    let layout = try SamplerLayout(
      kind: plan.kind, rows: source.count, microBatchSize: plan.microBatchSize,
      dataParallelSize: plan.dataParallelSize, dataSharding: plan.dataSharding,
      stepOfRest: plan.keepsRest
        ? max(1, plan.globalBatchSize / max(1, plan.microBatchSize * plan.dataParallelSize)) : nil)
    return try TrainingSchedule(
      layout: layout, globalBatchSize: plan.globalBatchSize, maxEpochs: plan.maxEpochs)
  }

  private static func feed(
    _ samples: PreparedSamples, _ plan: BatchPlan, _ schedule: TrainingSchedule?
  ) throws(Fault) -> any BatchFeed {
    switch (samples, schedule) {
    case (.indexed(let source), let schedule?):
      return IndexedFeed(samples: source, schedule: schedule, plan: plan)
    case (.stream(let stream), _):
      let block = plan.microBatchSize * plan.dataParallelSize
      guard block > 0, plan.globalBatchSize > 0, plan.globalBatchSize % block == 0 else {
        throw Fault(
          .badSampler,
          "global_batch_size \(plan.globalBatchSize) is no multiple of "
            + "micro_batch_size \(plan.microBatchSize) × data-parallel size "
            + "\(plan.dataParallelSize)", at: .flag("global_batch_size"))
      }
      return StreamFeed(
        samples: stream, plan: plan, microBatchesPerStep: plan.globalBatchSize / block)
    case (.indexed, nil):
      throw Fault(.internalError, "samples by number have no schedule")
    }
  }

  private var stepBatch: Int { plan.microBatchSize * plan.dataParallelSize }

  /// The next micro-batch, nil when the data end. The last step is always complete; with a step of the
  /// rest its places without a row on any rank are empty batches.
  /// - Throws: `DATA-113` if no row could be encoded in place of a bad one.
  public func next() throws(Fault) -> PackedBatch? {
    let batch: PackedBatch?
    if plan.workers > 0 {
      let loader = prefetcher ?? startPrefetcher()
      batch = try loader.batch(index)
    } else {
      batch = try feed.batch(index)
    }
    if batch != nil { index += 1 }
    return batch
  }

  private func startPrefetcher() -> Prefetcher {
    // A stream is read by one thread; its order is its position.
    let isStream = schedule == nil
    let workers = isStream ? 1 : plan.workers
    let loader = Prefetcher(
      feed: feed, workers: workers, depth: workers * max(plan.prefetch, 1), start: index)
    prefetcher = loader
    return loader
  }

  /// Where the next micro-batch begins.
  public var state: SamplerState {
    guard let schedule else {
      return SamplerState(
        consumed: index * stepBatch, epoch: (feed as? StreamFeed)?.epoch ?? 0, rows: nil)
    }
    return SamplerState(
      consumed: index * stepBatch, epoch: index / schedule.layout.microBatchesPerEpoch,
      rows: schedule.layout.rows)
  }

  /// Goes to a position. A stream is read again from its beginning up to there.
  /// - Throws: `DATA-112` if the position belongs to other data or lies inside a micro-batch.
  public func restore(_ state: SamplerState) throws(Fault) {
    if let rows = state.rows, let schedule, rows != schedule.layout.rows {
      throw Fault(
        .badResume, "the checkpoint was made with another number of rows",
        expected: "\(rows) rows", found: "\(schedule.layout.rows) rows",
        fix:
          "give the data, seed and lengths of the run that saved it, or start with --finetune true")
    }
    guard state.consumed >= 0, state.consumed % stepBatch == 0 else {
      throw Fault(
        .badResume, "\(state.consumed) consumed samples end inside a micro-batch of this layout",
        expected: "a multiple of micro_batch_size × data-parallel size = \(stepBatch)",
        fix: "resume with the batch sizes of the run that saved the checkpoint")
    }
    prefetcher?.stop()
    prefetcher = nil
    feed = try Self.feed(samples, plan, schedule)
    index = state.consumed / stepBatch
  }
}
