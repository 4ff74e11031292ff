import Support

/// Samples by number: what samplers count and batches are made of.
public protocol SampleSource: Sendable {
  /// Rows, or packs when packing.
  var count: Int { get }
  /// The documents of a sample: one row, or the rows of a pack.
  /// - Throws: `DATA-113` if neither the row nor another in its place can be encoded.
  func documents(_ index: Int) throws(Fault) -> [EncodedRow]
}

/// Samples that were encoded before training; the patches of their media are made when they are
/// fetched.
public struct EagerSamples: SampleSource {
  /// Encoded rows, each once, and where they were read.
  let rows: [EncodedRow]
  let sources: [StandardRow.Source]
  /// Row of each sample, several when packing; rows may repeat.
  let samples: [[Int]]
  let encoder: RowEncoder
  let replacements: ReplacementOrder

  public var count: Int { samples.count }

  /// The rows of the sample. One whose medium became unreadable is left out; if nothing is left,
  /// another sample takes the place.
  public func documents(_ index: Int) throws(Fault) -> [EncodedRow] {
    var last: (source: StandardRow.Source, reason: String)?
    for place in replacements.candidates(index) {
      var documents: [EncodedRow] = []
      for row in samples[place] {
        do throws(Fault) { documents.append(try encoder.loaded(rows[row])) } catch {
          guard error.isOfRow else { throw error }
          encoder.log.update { $0.replaced(sources[row], reason: error.reason) }
          last = (sources[row], error.reason)
        }
      }
      if !documents.isEmpty { return documents }
    }
    throw .noReplacement(count: count, last: last)
  }

  /// Tokens of each sample.
  public var lengths: [Int] {
    samples.map { $0.reduce(0) { $0 + rows[$1].inputIDs.count } }
  }
}

/// Rows that are encoded when they are fetched; one that fails is replaced by another.
public struct LazySamples: SampleSource {
  let rows: [StandardRow]
  let order: [Int]
  let encoder: RowEncoder
  private let replacements: ReplacementOrder

  init(rows: [StandardRow], order: [Int], encoder: RowEncoder, seed: Int) {
    self.rows = rows
    self.order = order
    self.encoder = encoder
    replacements = ReplacementOrder(count: order.count, seed: seed)
  }

  public var count: Int { order.count }

  /// The sample, or one of nine others.
  public func documents(_ index: Int) throws(Fault) -> [EncodedRow] {
    var last: (source: StandardRow.Source, reason: String)?
    for place in replacements.candidates(index) {
      let row = rows[order[place]]
      switch try encoder.loadedOutcome(row) {
      case .kept(let encoded, _, _): return [encoded]
      case .tooLong(let reason), .bad(let reason):
        encoder.log.update { $0.replaced(row.source, reason: reason) }
        last = (row.source, reason)
      }
    }
    throw .noReplacement(count: count, last: last)
  }
}

extension Fault {
  fileprivate static func noReplacement(
    count: Int, last: (source: StandardRow.Source, reason: String)?
  ) -> Fault {
    Fault(
      .fetchFailed,
      "no row could be encoded in \(min(ReplacementOrder.tries, count)) tries",
      at: last.map { .file($0.source.file, line: $0.source.line) }, found: last?.reason,
      fix: "raise --max_length, or set --truncation_strategy to left or right")
  }
}
