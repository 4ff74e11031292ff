import Support

/// Samples that are read, encoded and packed while training runs.
public struct StreamedSamples: Sendable {
  let sources: [DatasetSource]
  let loader: RowLoader
  let encoder: RowEncoder
  let order: OrderOptions
  let threads: Int

  /// The samples from the beginning, or from a position on; each epoch has the same order.
  /// - Throws: `DATA-107` for chances that do not fit the data sets, `DATA-112` for a position of
  ///   other data.
  func open(at position: StreamPosition? = nil) throws(Fault) -> SampleStream {
    let (sources, loader) = (self.sources, self.loader)
    // The numbers are drawn as for a list: first the mixture's, then the shuffle's.
    var state = RandomState(seed: order.seed)
    var mixer: Interleaver?
    if let chances = order.interleave {
      let seed = state.seed()
      _ = state.seed()
      if sources.count > 1 {
        mixer = try Interleaver(
          chances: chances, sources: sources.count, seed: seed, stopping: order.stopping)
      }
    }
    let mixed = MixedStream(count: sources.count, mixer: mixer) {
      DatasetStream(sources[$0], number: $0, loader: loader, from: $1)
    }
    var shuffled: ShuffledStream?
    if order.shuffle {
      shuffled = ShuffledStream(
        mixed, capacity: encoder.options.shuffleBufferSize, seed: state.seed())
    }
    let stream = SampleStream(
      mixed: mixed, shuffled: shuffled, fileSizes: fileSizes, encoder: encoder, threads: threads)
    if let position {
      try check(position)
      try stream.restore(
        position, TicketReader(sources: sources, loader: loader, position: position))
    }
    return stream
  }

  private var fileSizes: [Int] {
    sources.flatMap { $0.parts.flatMap { $0.files.map { Folder.fileSize($0) ?? 0 } } }
  }

  /// Files may have grown behind what was read; anything else is other data.
  private func check(_ position: StreamPosition) throws(Fault) {
    let sizes = fileSizes
    guard sizes.count == position.fileSizes.count, position.sources.count == sources.count else {
      throw .otherStream(
        "it is of \(position.fileSizes.count) files, the data have \(sizes.count)")
    }
    guard zip(sizes, position.fileSizes).allSatisfy({ $0 >= $1 }),
      zip(sources, position.sources).allSatisfy({ $1.part <= $0.parts.count })
    else { throw .otherStream("a file of it is shorter now") }
  }
}

/// Encoded samples one after the other; used by one thread at a time.
final class SampleStream {
  /// A row of a round, which can be read again.
  private struct RoundRow {
    var encoded: EncodedRow
    var ticket: RowTicket
  }

  private let mixed: MixedStream
  private let shuffled: ShuffledStream?
  private let fileSizes: [Int]
  private let encoder: RowEncoder
  private let threads: Int
  private var rounds: PackingRounds<RoundRow>?
  private var carried: [RowTicket] = []
  private var waiting: [[EncodedRow]] = []
  private var ended = false
  /// Where the round of `waiting` began.
  private var start = StreamPosition()

  init(
    mixed: MixedStream, shuffled: ShuffledStream?, fileSizes: [Int], encoder: RowEncoder,
    threads: Int
  ) {
    self.mixed = mixed
    self.shuffled = shuffled
    self.fileSizes = fileSizes
    self.encoder = encoder
    self.threads = threads
    rounds = encoder.options.capacity.map { PackingRounds(capacity: $0) }
  }

  /// Where the next sample is: the beginning of its round, and how many were taken of it.
  var position: StreamPosition { start }

  /// Goes to a position; the rows of its round are encoded again.
  func restore(_ position: StreamPosition, _ reader: TicketReader) throws(Fault) {
    try mixed.restore(position, reader)
    try shuffled?.restore(position, reader)
    let rows = try reader.rows(position.carried)
    let again = try encode(rows, records: false)
    rounds?.restore(again.map { ($0, $0.encoded.inputIDs.count) })
    carried = position.carried
    try fill()
    let taken = min(position.taken, waiting.count)
    waiting.removeFirst(taken)
    start.taken = taken
  }

  /// The documents of the next sample without the patches of their media, nil at the end of the
  /// data.
  func next() throws(Fault) -> [EncodedRow]? {
    while waiting.isEmpty && !ended { try fill() }
    guard !waiting.isEmpty else { return nil }
    start.taken += 1
    return waiting.removeFirst()
  }

  /// The documents with the patches of their media, without those that became unreadable since
  /// they were encoded.
  func loaded(_ documents: [EncodedRow]) throws(Fault) -> [EncodedRow] {
    var result: [EncodedRow] = []
    for document in documents {
      do throws(Fault) { result.append(try encoder.loaded(document)) } catch {
        guard error.isOfRow else { throw error }
        encoder.log.update { $0.note("left out while training: \(error.reason)") }
      }
    }
    return result
  }

  /// Encodes a round of rows; its size is fixed, so that packs do not depend on threads.
  private func fill() throws(Fault) {
    markStart()
    var round: [RoundRow] = []
    while round.count < PackingRounds<RoundRow>.streamRound, !ended {
      var batch: [DrawnRow] = []
      let wanted = PackingRounds<RoundRow>.streamRound - round.count
      while batch.count < wanted, let row = try nextRow() { batch.append(row) }
      ended = batch.count < wanted
      round += try encode(batch, records: true)
    }
    guard var packer = rounds else {
      waiting = round.map { [$0.encoded] }
      return
    }
    let packs = packer.round(round.map { ($0, $0.encoded.inputIDs.count) }, isLast: ended)
    waiting = packs.map { $0.map(\.encoded) }
    carried = packer.carriedItems.map(\.ticket)
    rounds = packer
  }

  private func markStart() {
    start = StreamPosition()
    start.fileSizes = fileSizes
    mixed.write(to: &start)
    shuffled?.write(to: &start)
    start.carried = carried
  }

  private func nextRow() throws(Fault) -> DrawnRow? {
    if let shuffled { return try shuffled.next() }
    return try mixed.next()
  }

  /// - Parameter records: false for rows that were counted before.
  private func encode(_ batch: [DrawnRow], records: Bool) throws(Fault) -> [RoundRow] {
    let encoder = encoder
    let results = parallelMap(count: batch.count, threads: threads) {
      index -> Result<RowOutcome, Fault> in
      do throws(Fault) { return .success(try encoder.outcome(batch[index].row)) } catch {
        return .failure(error)
      }
    }
    var kept: [RoundRow] = []
    for (drawn, result) in zip(batch, results) {
      let outcome = try result.get()
      if records { encoder.record(outcome, of: drawn.row.source) }
      if case .kept(let encoded, _, _) = outcome {
        kept.append(RoundRow(encoded: encoded, ticket: drawn.ticket))
      }
    }
    return kept
  }
}
