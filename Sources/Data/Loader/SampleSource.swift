import Support

/// Samples by number: what samplers count and batches are made of.
public protocol SampleSource: Sendable {
  /// Rows, or packs when packing.
  var count: Int { get }
  /// The documents of a sample: one row, or the rows of a pack.
  /// - Throws: `DATA-113` if neither the row nor another in its place can be encoded.
  func documents(_ index: Int) throws(Fault) -> [EncodedRow]
}

/// Samples that were encoded before training.
public struct EagerSamples: SampleSource {
  /// Encoded rows, each once.
  let rows: [EncodedRow]
  /// Row of each sample, several when packing; rows may repeat.
  let samples: [[Int]]

  public var count: Int { samples.count }

  public func documents(_ index: Int) throws(Fault) -> [EncodedRow] {
    samples[index].map { rows[$0] }
  }

  /// Tokens of each sample.
  public var lengths: [Int] {
    samples.map { $0.reduce(0) { $0 + rows[$1].inputIDs.count } }
  }
}

/// Rows that are encoded when they are fetched; one that fails is replaced by another.
public struct LazySamples: SampleSource {
  /// Most rows that are tried for one sample.
  public static let tries = 10

  let rows: [StandardRow]
  let order: [Int]
  let encoder: RowEncoder
  /// Order of replacement, from `--data_seed`.
  private let replacements: [Int]

  init(rows: [StandardRow], order: [Int], encoder: RowEncoder, seed: Int) {
    self.rows = rows
    self.order = order
    self.encoder = encoder
    var state = RandomState(seed: seed)
    replacements = state.permutation(order.count)
  }

  public var count: Int { order.count }

  /// The sample, or one of nine others: the choice is a pure function of the index, so that every
  /// rank and every thread makes the same.
  public func documents(_ index: Int) throws(Fault) -> [EncodedRow] {
    var last: (source: StandardRow.Source, reason: String)?
    for place in candidates(index) {
      let row = rows[order[place]]
      switch try encoder.outcome(row) {
      case .kept(let encoded, _, _): return [encoded]
      case .tooLong(let reason), .bad(let reason):
        encoder.log.update { $0.replaced(row.source, reason: reason) }
        last = (row.source, reason)
      }
    }
    throw Fault(
      .fetchFailed, "no row could be encoded in \(min(Self.tries, count)) tries",
      at: last.map { .file($0.source.file, line: $0.source.line) }, found: last?.reason,
      fix: "raise --max_length, or set --truncation_strategy to left or right")
  }

  private func candidates(_ index: Int) -> [Int] {
    var places = [index]
    var step = 0
    while places.count < min(Self.tries, count), step < count {
      let other = replacements[(index + step) % count]
      step += 1
      if other != index { places.append(other) }
    }
    return places
  }
}
