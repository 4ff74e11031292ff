import Support

/// The micro-batches of one data-parallel rank in training order, with an exact position.
///
/// One thread uses it. All ranks of a dp index (tensor, context and pipeline peers) get the same
/// batches: each batch is made by one of them, in turn, and shared, so that a row is encoded and a
/// picture decoded once. A stream is read by the first of them.
public final class BatchSource {
  /// How micro-batches form steps; nil for a stream, whose length is not known.
  public let schedule: TrainingSchedule?

  private let samples: PreparedSamples
  private let plan: BatchPlan
  private let peers: (any RankPeers)?
  private var feed: any BatchFeed
  private var prefetcher: Prefetcher?
  private var index: Int
  /// Of a stream, where the next batch begins.
  private var place = StreamPlace()

  /// - Parameter peers: the ranks of this dp index, which all make the same calls.
  /// - Throws: `DATA-111` if batch sizes and rows do not fit together, `DATA-112` if `state` belongs
  ///   to other data or lies inside a micro-batch.
  public init(
    _ samples: PreparedSamples, plan: BatchPlan, from state: SamplerState = SamplerState(),
    peers: (any RankPeers)? = nil
  ) throws(Fault) {
    guard (0..<max(plan.dataParallelSize, 1)).contains(plan.dataParallelRank) else {
      throw Fault(
        .internalError, "data-parallel rank \(plan.dataParallelRank) of \(plan.dataParallelSize)")
    }
    self.samples = samples
    self.plan = plan
    self.peers = peers.several
    schedule = try Self.schedule(samples, plan)
    feed = try Self.feed(samples, plan, schedule, start: 0, StreamPlace())
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
    _ samples: PreparedSamples, _ plan: BatchPlan, _ schedule: TrainingSchedule?, start: Int,
    _ place: StreamPlace
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
        samples: stream, plan: plan, microBatchesPerStep: plan.globalBatchSize / block,
        start: start, place: place)
    case (.indexed, nil):
      throw Fault(.internalError, "samples by number have no schedule")
    }
  }

  private var stepBatch: Int { plan.microBatchSize * plan.dataParallelSize }

  /// The next micro-batch, nil when the data end. The last step is always complete; with a step of the
  /// rest its places without a row on any rank are empty batches.
  /// - Throws: `DATA-113` if no row could be encoded in place of a bad one.
  /// - Communication: with peers, one batch is sent to all of them.
  public func next() throws(Fault) -> PackedBatch? {
    let fed: FedBatch?
    if let peers { fed = try shared(peers) } else { fed = try own() }
    guard let fed else { return nil }
    if let place = fed.place { self.place = place }
    index += 1
    return fed.batch
  }

  /// The next `count` micro-batches, nil when the data end before.
  /// - Throws: as `next`.
  /// - Communication: as `next`, for each.
  public func next(_ count: Int) throws(Fault) -> [PackedBatch]? {
    var batches: [PackedBatch] = []
    for _ in 0..<count {
      guard let batch = try next() else { return nil }
      batches.append(batch)
    }
    return batches
  }

  /// The peer that makes batch `index`.
  private func maker(_ index: Int, of size: Int) -> Int { schedule == nil ? 0 : index % size }

  private func own() throws(Fault) -> FedBatch? {
    guard plan.workers > 0 else { return try feed.batch(index) }
    return try (prefetcher ?? startPrefetcher()).batch(index)
  }

  private func shared(_ peers: any RankPeers) throws(Fault) -> FedBatch? {
    let maker = maker(index, of: peers.size)
    var made: FedBatch?
    let bytes = try peers.share(from: maker) { () throws(Fault) -> [UInt8] in
      made = try own()
      var writer = ByteWriter()
      if let made {
        writer.add(made.place?.epoch ?? -1)
        writer.add(made.batch)
      }
      return writer.bytes
    }
    if maker == peers.rank || bytes.isEmpty { return made }
    var reader = ByteReader(bytes)
    let epoch = try reader.number()
    return FedBatch(
      batch: try reader.batch(), place: epoch < 0 ? nil : StreamPlace(epoch: epoch))
  }

  private func startPrefetcher() -> Prefetcher {
    // A stream is read by one thread; its order is its position.
    let isStream = schedule == nil
    let workers = isStream ? 1 : plan.workers
    let step = isStream ? 1 : peers?.size ?? 1
    var start = index
    if let peers, !isStream { while maker(start, of: peers.size) != peers.rank { start += 1 } }
    let loader = Prefetcher(
      feed: feed, workers: workers, depth: workers * max(plan.prefetch, 1), start: start, step: step
    )
    prefetcher = loader
    return loader
  }

  /// Where the next micro-batch begins.
  public var state: SamplerState {
    guard let schedule else {
      var state = SamplerState(
        consumed: index * stepBatch, epoch: place.epoch, rows: nil)
      state.stream = place.position
      return state
    }
    return SamplerState(
      consumed: index * stepBatch, epoch: index / schedule.layout.microBatchesPerEpoch,
      rows: schedule.layout.rows)
  }

  /// Goes to a position. A stream whose place in the files is not known is read again from its
  /// beginning up to there.
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
    index = state.consumed / stepBatch
    place = index == 0 ? StreamPlace() : StreamPlace(epoch: state.epoch, position: state.stream)
    feed = try Self.feed(samples, plan, schedule, start: index, place)
  }
}
