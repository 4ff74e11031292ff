import Support

/// Samples that are read, encoded and packed while training runs.
public struct StreamedSamples: Sendable {
  let sources: [DatasetSource]
  let loader: RowLoader
  let encoder: RowEncoder
  let order: OrderOptions
  let threads: Int

  /// The samples from the beginning; each epoch has the same order.
  /// - Throws: `DATA-107` for chances that do not fit the data sets.
  func open() throws(Fault) -> SampleStream {
    let loader = loader
    let make = sources.map { source in
      { () -> any RowStream in DatasetStream(source, loader: loader) }
    }
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
    var rows: any RowStream = MixedStream(make, mixer: mixer)
    if order.shuffle {
      rows = ShuffledStream(
        rows, capacity: encoder.options.shuffleBufferSize, seed: state.seed())
    }
    return SampleStream(rows: rows, encoder: encoder, threads: threads)
  }
}

/// Encoded samples one after the other; used by one thread at a time.
final class SampleStream {
  private let rows: any RowStream
  private let encoder: RowEncoder
  private let threads: Int
  private var rounds: PackingRounds<EncodedRow>?
  private var waiting: [[EncodedRow]] = []
  private var ended = false

  init(rows: any RowStream, encoder: RowEncoder, threads: Int) {
    self.rows = rows
    self.encoder = encoder
    self.threads = threads
    rounds = encoder.options.capacity.map { PackingRounds(capacity: $0) }
  }

  /// The documents of the next sample, nil at the end of the data.
  func next() throws(Fault) -> [EncodedRow]? {
    while true {
      while waiting.isEmpty && !ended { try fill() }
      guard !waiting.isEmpty else { return nil }
      let documents = try loaded(waiting.removeFirst())
      if !documents.isEmpty { return documents }
    }
  }

  /// The documents with the patches of their media, without those that became unreadable since
  /// they were encoded.
  private func loaded(_ documents: [EncodedRow]) throws(Fault) -> [EncodedRow] {
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
    var round: [EncodedRow] = []
    while round.count < PackingRounds<EncodedRow>.streamRound, !ended {
      var batch: [StandardRow] = []
      let wanted = PackingRounds<EncodedRow>.streamRound - round.count
      while batch.count < wanted, let row = try rows.next() { batch.append(row) }
      ended = batch.count < wanted
      round += try encode(batch)
    }
    guard var packer = rounds else {
      waiting = round.map { [$0] }
      return
    }
    waiting = packer.round(round.map { ($0, $0.inputIDs.count) }, isLast: ended)
    rounds = packer
  }

  private func encode(_ batch: [StandardRow]) throws(Fault) -> [EncodedRow] {
    let encoder = encoder
    let results = parallelMap(count: batch.count, threads: threads) {
      index -> Result<RowOutcome, Fault> in
      do throws(Fault) { return .success(try encoder.outcome(batch[index])) } catch {
        return .failure(error)
      }
    }
    var kept: [EncodedRow] = []
    for (row, result) in zip(batch, results) {
      let outcome = try result.get()
      encoder.record(outcome, of: row.source)
      if case .kept(let encoded, _, _) = outcome { kept.append(encoded) }
    }
    return kept
  }
}
