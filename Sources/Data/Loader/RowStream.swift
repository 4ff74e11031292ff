import Support

/// A row of a stream, and where it stands.
struct DrawnRow: Sendable {
  var row: StandardRow
  var ticket: RowTicket
}

/// Rows one after the other, in bounded memory.
protocol RowStream: AnyObject {
  func next() throws(Fault) -> DrawnRow?
}

/// Streams one after the other, or mixed by chance.
final class MixedStream: RowStream {
  private let make: (Int, SourcePosition?) -> DatasetStream
  private var streams: [DatasetStream]
  private var heads: [DrawnRow?] = []
  private var mixer: Interleaver?
  private var current = 0
  /// Columns of the parts of each source, where it was read before.
  private var columns: [[[String]]]

  /// - Parameters:
  ///   - make: opens a stream at a position; used again when a source begins again.
  ///   - mixer: nil = one after the other.
  init(
    count: Int, mixer: Interleaver?, _ make: @escaping (Int, SourcePosition?) -> DatasetStream
  ) {
    self.make = make
    self.mixer = mixer
    streams = (0..<count).map { make($0, nil) }
    columns = [[[String]]](repeating: [], count: count)
  }

  /// Goes to a position.
  func restore(_ position: StreamPosition, _ reader: TicketReader) throws(Fault) {
    streams = position.sources.enumerated().map { make($0, $1) }
    columns = position.columns
    current = position.current
    mixer?.restore(draws: position.mixerDraws, used: position.usedUp)
    heads = []
    for ticket in position.heads {
      heads.append(try ticket.map { (ticket) throws(Fault) in try reader.row(ticket) })
    }
  }

  func write(to position: inout StreamPosition) {
    position.sources = streams.map(\.position)
    position.columns = streams.indices.map(knownColumns)
    position.current = current
    position.heads = heads.map { $0?.ticket }
    position.mixerDraws = mixer?.draws ?? 0
    position.usedUp = mixer?.used ?? []
  }

  func next() throws(Fault) -> DrawnRow? {
    guard mixer != nil, streams.count > 1 else { return try nextInOrder() }
    if heads.isEmpty {
      for stream in streams { heads.append(try stream.next()) }
      // A source without rows can neither be drawn from nor be used up.
      if heads.contains(where: { $0 == nil }) { return nil }
    }
    guard let source = mixer?.next(), let row = heads[source] else { return nil }
    heads[source] = try streams[source].next()
    if heads[source] == nil {
      mixer?.exhausted(source)
      columns[source] = knownColumns(source)
      streams[source] = make(source, nil)
      heads[source] = try streams[source].next()
    }
    return row
  }

  /// The columns of each part of a source: a source that begins again meets them in the same order.
  private func knownColumns(_ source: Int) -> [[String]] {
    let (before, now) = (columns[source], streams[source].position.columns)
    return (0..<max(before.count, now.count)).map { part in
      let old = part < before.count ? before[part] : []
      let new = part < now.count ? now[part] : []
      return old.count > new.count ? old : new
    }
  }

  private func nextInOrder() throws(Fault) -> DrawnRow? {
    while current < streams.count {
      if let row = try streams[current].next() { return row }
      current += 1
    }
    return nil
  }
}

/// A stream shuffled within a buffer.
final class ShuffledStream: RowStream {
  private let base: any RowStream
  private var buffer: ShuffleBuffer<DrawnRow>

  init(_ base: any RowStream, capacity: Int, seed: Int) {
    self.base = base
    buffer = ShuffleBuffer(capacity: capacity, seed: seed)
  }

  /// Goes to a position; the base must be there already.
  func restore(_ position: StreamPosition, _ reader: TicketReader) throws(Fault) {
    buffer.restore(
      rows: try reader.rows(position.held), usedPlaces: position.usedPlaces,
      draining: position.isDraining)
  }

  func write(to position: inout StreamPosition) {
    position.held = buffer.rows.map(\.ticket)
    position.usedPlaces = buffer.usedPlaces
    position.isDraining = buffer.draining
  }

  func next() throws(Fault) -> DrawnRow? {
    let base = base
    return try buffer.next { () throws(Fault) -> DrawnRow? in try base.next() }
  }
}
