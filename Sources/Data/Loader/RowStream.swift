import Support

/// Rows one after the other, in bounded memory.
protocol RowStream: AnyObject {
  func next() throws(Fault) -> StandardRow?
}

/// The good rows of one data set, read as they are asked for.
final class DatasetStream: RowStream {
  /// Rows read ahead to see which columns there are.
  private static let lookahead = 128

  private let loader: RowLoader
  private let parts: [DatasetSource.Part]
  private var left: Int?
  private var part = 0
  private var file = 0
  private var reader: (any RawRowReader)?
  private var waiting: [RawRow] = []
  private var columns = ColumnUnion()
  private var standardizer: RowStandardizer?

  init(_ source: DatasetSource, loader: RowLoader) {
    self.loader = loader
    parts = source.parts
    left = source.count
  }

  func next() throws(Fault) -> StandardRow? {
    guard left != 0 else { return nil }
    while let raw = try nextRaw() {
      guard let row = try standardize(raw) else { continue }
      left = left.map { $0 - 1 }
      return row
    }
    return nil
  }

  private func standardize(_ raw: RawRow) throws(Fault) -> StandardRow? {
    if columns.add(raw) || standardizer == nil { try plan(for: raw) }
    guard var current = standardizer else { return nil }
    let pick = current.pick(raw)
    standardizer = current
    do throws(Fault) {
      return try current.standardize(raw, pick: pick)
    } catch {
      if loader.options.strict { throw error.asStrict }
      loader.log.update { $0.dropped(raw.source, reason: error.reason) }
      return nil
    }
  }

  /// A column that was not seen before may change what the others mean.
  private func plan(for raw: RawRow) throws(Fault) {
    let part = parts[part]
    let plan = try ColumnPlan(
      columns: columns.names, renames: loader.options.renames(with: part.columns),
      file: raw.source.file)
    loader.log.update { report in
      for note in plan.notes { report.note("\(raw.source.file): \(note)") }
    }
    standardizer =
      standardizer.map { RowStandardizer(plan: plan, like: $0) }
      ?? RowStandardizer(plan: plan, preset: part.preset, options: loader.options)
  }

  private func nextRaw() throws(Fault) -> RawRow? {
    while waiting.isEmpty, part < parts.count {
      try fill()
      if waiting.isEmpty {
        part += 1
        file = 0
        columns = ColumnUnion()
        standardizer = nil
      }
    }
    return waiting.isEmpty ? nil : waiting.removeFirst()
  }

  private func fill() throws(Fault) {
    while waiting.count < Self.lookahead, file < parts[part].files.count {
      let open: any RawRowReader
      if let reader { open = reader } else { open = try openRows(parts[part].files[file]) }
      reader = open
      if let raw = try open.next() {
        waiting.append(raw)
        loader.log.update { $0.update(raw.source.file) { $0.read += 1 } }
      } else {
        reader = nil
        file += 1
      }
    }
    for raw in waiting { _ = columns.add(raw) }
  }
}

/// Streams one after the other, or mixed by chance.
final class MixedStream: RowStream {
  private let make: [() -> any RowStream]
  private var streams: [any RowStream]
  private var heads: [StandardRow?] = []
  private var mixer: Interleaver?
  private var current = 0

  /// - Parameters:
  ///   - make: opens each stream anew; used again when a source begins again.
  ///   - mixer: nil = one after the other.
  init(_ make: [() -> any RowStream], mixer: Interleaver?) {
    self.make = make
    self.mixer = mixer
    streams = make.map { $0() }
  }

  func next() throws(Fault) -> StandardRow? {
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
      streams[source] = make[source]()
      heads[source] = try streams[source].next()
    }
    return row
  }

  private func nextInOrder() throws(Fault) -> StandardRow? {
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
  private var buffer: ShuffleBuffer<StandardRow>

  init(_ base: any RowStream, capacity: Int, seed: Int) {
    self.base = base
    buffer = ShuffleBuffer(capacity: capacity, seed: seed)
  }

  func next() throws(Fault) -> StandardRow? {
    let base = base
    return try buffer.next { () throws(Fault) -> StandardRow? in try base.next() }
  }
}
