import Support
import Synchronization

/// A micro-batch, and for a stream the place behind it.
struct FedBatch: Sendable {
  var batch: PackedBatch
  var place: StreamPlace?
}

/// How far a stream was read when a batch was complete.
struct StreamPlace: Sendable, Equatable {
  var epoch = 0
  /// nil where another rank reads the stream, and in checkpoints of older versions.
  var position: StreamPosition?
}

/// Makes the micro-batches of one rank, by their number since the run began.
protocol BatchFeed: Sendable {
  /// - Returns: nil past the end of the data.
  func batch(_ index: Int) throws(Fault) -> FedBatch?
}

/// Batches of samples that are reached by number; calls may come from any thread in any order.
final class IndexedFeed: BatchFeed {
  private let samples: any SampleSource
  private let schedule: TrainingSchedule
  private let plan: BatchPlan
  /// Permutations of the epochs in use: batches are prepared ahead, across the end of an epoch.
  private let permutations = Mutex<[Int: [Int]]>([:])

  init(samples: any SampleSource, schedule: TrainingSchedule, plan: BatchPlan) {
    self.samples = samples
    self.schedule = schedule
    self.plan = plan
  }

  func batch(_ index: Int) throws(Fault) -> FedBatch? {
    if let limit = schedule.microBatchLimit, index >= limit { return nil }
    let layout = schedule.layout
    guard index % layout.microBatchesPerEpoch < layout.filledMicroBatches else {
      return FedBatch(batch: plan.assembly.assemble([]))
    }
    var documents: [EncodedRow] = []
    let own = rows(index)
    for sample in own { documents += try samples.documents(sample) }
    if own.isEmpty { documents = try untrained() }
    return FedBatch(batch: plan.assembly.assemble(documents))
  }

  /// What a rank runs when only others have rows of a micro-batch: it takes part in their collectives
  /// and adds nothing.
  private func untrained() throws(Fault) -> [EncodedRow] {
    try samples.documents(0).map(\.untrained)
  }

  /// The samples of micro-batch `index` of this rank.
  func rows(_ index: Int) -> [Int] {
    let layout = schedule.layout
    let epoch = index / layout.microBatchesPerEpoch
    return layout.rows(
      microBatch: index % layout.microBatchesPerEpoch, rank: plan.dataParallelRank,
      permutation: permutation(epoch))
  }

  private func permutation(_ epoch: Int) -> [Int] {
    permutations.withLock { known in
      if let order = known[epoch] { return order }
      let order = schedule.layout.permutation(epoch: epoch)
      known = known.filter { $0.key >= epoch - 1 }
      known[epoch] = order
      return order
    }
  }
}

/// Batches of a stream, dealt out to the ranks in turn. Every rank reads the whole stream and keeps
/// its share, so that no rank depends on another.
final class StreamFeed: BatchFeed {
  private struct State {
    var stream: SampleStream?
    var epoch = 0
    var next = 0
    /// Batches of the last epoch that are known to belong to a complete step.
    var ready: [FedBatch] = []
    var ended = false
    /// Where the stream is to be opened first.
    var resumed: StreamPosition?
    /// Documents of the batch before, for one that loses all of its own.
    var last: [EncodedRow] = []
  }

  private let samples: StreamedSamples
  private let plan: BatchPlan
  private let microBatchesPerStep: Int
  private let state: Mutex<State>

  /// - Parameters:
  ///   - start: number of the first batch that will be asked for.
  ///   - place: where it begins; without a position the stream is read again up to there.
  init(
    samples: StreamedSamples, plan: BatchPlan, microBatchesPerStep: Int, start: Int = 0,
    place: StreamPlace = StreamPlace()
  ) {
    self.samples = samples
    self.plan = plan
    self.microBatchesPerStep = microBatchesPerStep
    var state = State()
    if let position = place.position {
      state.next = start
      state.epoch = place.epoch
      state.resumed = position
    }
    self.state = Mutex(state)
  }

  /// Batches come in order; a number further on reads past those between.
  func batch(_ index: Int) throws(Fault) -> FedBatch? {
    let result = state.withLock { state -> Result<FedBatch?, Fault> in
      do throws(Fault) {
        guard index >= state.next else {
          throw Fault(.internalError, "a stream of rows was asked to go back")
        }
        var batch: FedBatch?
        while state.next <= index {
          batch = try take(&state)
          guard batch != nil else { return .success(nil) }
        }
        return .success(batch)
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  /// Takes a batch; whole steps are read ahead, so that the last one is never half.
  private func take(_ state: inout State) throws(Fault) -> FedBatch? {
    while state.ready.count < microBatchesPerStep, !state.ended,
      state.ready.isEmpty || !isMidStep(state)
    {
      guard let batch = try read(&state) else {
        state.ended = true
        break
      }
      state.ready.append(batch)
    }
    let whole = isMidStep(state) || state.ready.count >= microBatchesPerStep
    guard whole, !state.ready.isEmpty else { return nil }
    state.next += 1
    return state.ready.removeFirst()
  }

  /// Whether the step of the next batch has begun; the rest of it is ready then.
  private func isMidStep(_ state: State) -> Bool { state.next % microBatchesPerStep != 0 }

  /// Reads the next batch of this rank, over the ends of epochs.
  private func read(_ state: inout State) throws(Fault) -> FedBatch? {
    var fruitless = false
    while plan.maxEpochs.map({ state.epoch < $0 }) ?? true {
      let stream: SampleStream
      if let open = state.stream {
        stream = open
      } else {
        stream = try samples.open(at: state.resumed)
      }
      state.stream = stream
      state.resumed = nil
      var mine: [EncodedRow] = []
      var taken = 0
      let block = plan.microBatchSize * plan.dataParallelSize
      while taken < block, let documents = try stream.next() {
        if taken / plan.microBatchSize == plan.dataParallelRank { mine += documents }
        taken += 1
      }
      if taken == block {
        return FedBatch(
          batch: plan.assembly.assemble(try loaded(mine, stream, &state)),
          place: StreamPlace(epoch: state.epoch, position: stream.position))
      }
      // An epoch that gives no batch at all would be read for ever.
      if fruitless || (state.epoch == 0 && state.next == 0 && state.ready.isEmpty) {
        throw Fault(
          .noRows, "the stream holds \(taken) usable rows, too few for one step",
          expected: "at least micro_batch_size × data-parallel size = \(block)")
      }
      fruitless = true
      state.stream = nil
      state.epoch += 1
    }
    return nil
  }

  /// The documents with the patches of their media. Only those of this rank are loaded, so one whose
  /// media became unreadable may not change what the others take: the batch before stands in for a
  /// batch that loses everything, and adds nothing.
  private func loaded(
    _ documents: [EncodedRow], _ stream: SampleStream, _ state: inout State
  ) throws(Fault) -> [EncodedRow] {
    let left = try stream.loaded(documents)
    if !left.isEmpty {
      state.last = left
      return left
    }
    guard !state.last.isEmpty else {
      throw Fault(
        .fetchFailed, "no row of the first batch could be loaded",
        fix: "mend the pictures and clips of the rows named before")
    }
    return state.last.map(\.untrained)
  }
}

extension EncodedRow {
  /// The row without anything to learn from.
  fileprivate var untrained: EncodedRow {
    var row = self
    row.labels = row.labels.map { _ in -100 }
    row.lossScale = nil
    return row
  }
}
