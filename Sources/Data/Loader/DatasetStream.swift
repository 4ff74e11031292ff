import Support

/// The good rows of one data set, read as they are asked for.
final class DatasetStream: RowStream {
  /// Rows read ahead to see which columns there are.
  private static let lookahead = 128

  private let number: Int
  private let loader: RowLoader
  private let parts: [DatasetSource.Part]
  private var left: Int?
  private var part = 0
  private var file = 0
  private var reader: (any RawRowReader)?
  /// Rows that were looked at, each with its file.
  private var waiting: [(raw: RawRow, file: Int)] = []
  /// Columns of each part so far.
  private var columns = [ColumnUnion()]
  private var standardizer: RowStandardizer?
  /// Where the next file is begun, and how many rows are looked at first, after a position was
  /// restored.
  private var resumed: (mark: FileMark?, ahead: Int, words: Int)?

  /// - Parameters:
  ///   - number: of the source, for tickets.
  ///   - position: nil = from the beginning.
  init(
    _ source: DatasetSource, number: Int, loader: RowLoader, from position: SourcePosition? = nil
  ) {
    self.number = number
    self.loader = loader
    parts = source.parts
    left = source.count
    guard let position else { return }
    left = position.left
    part = position.part
    file = position.file
    columns = position.columns.map { ColumnUnion(names: $0) }
    if columns.isEmpty { columns = [ColumnUnion()] }
    resumed = (position.mark, position.ahead, position.pickedWords)
  }

  var position: SourcePosition {
    var position = SourcePosition()
    position.part = part
    position.left = left
    position.ahead = waiting.count
    position.columns = columns.map(\.names)
    position.pickedWords = standardizer?.pickedWords ?? resumed?.words ?? 0
    if let first = waiting.first {
      (position.file, position.mark) = (first.file, first.raw.mark)
    } else {
      position.file = file
      position.mark = resumed?.mark ?? reader?.mark ?? FileMark()
      position.ahead = resumed?.ahead ?? 0
    }
    return position
  }

  func next() throws(Fault) -> DrawnRow? {
    guard left != 0 else { return nil }
    while let (raw, file) = try nextRaw() {
      guard let (row, pick) = try standardize(raw) else { continue }
      left = left.map { $0 - 1 }
      return DrawnRow(
        row: row,
        ticket: RowTicket(
          source: number, part: part, file: file, mark: raw.mark,
          columns: columns[columns.count - 1].names.count, pick: pick))
    }
    return nil
  }

  private func standardize(_ raw: RawRow) throws(Fault) -> (StandardRow, Int)? {
    if columns[columns.count - 1].add(raw) || standardizer == nil { try plan(for: raw) }
    guard var current = standardizer else { return nil }
    let pick = current.pick(raw)
    standardizer = current
    do throws(Fault) {
      return try current.standardize(raw, pick: pick).map { ($0, pick) }
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
      columns: columns[columns.count - 1].names,
      renames: loader.options.renames(with: part.columns), file: raw.source.file)
    loader.log.update { report in
      for note in plan.notes { report.note("\(raw.source.file): \(note)") }
    }
    guard let standardizer else {
      var fresh = RowStandardizer(plan: plan, preset: part.preset, options: loader.options)
      fresh.skip(words: resumed?.words ?? 0)
      resumed = nil
      standardizer = fresh
      return
    }
    self.standardizer = RowStandardizer(plan: plan, like: standardizer)
  }

  private func nextRaw() throws(Fault) -> (raw: RawRow, file: Int)? {
    while waiting.isEmpty, part < parts.count {
      try fill()
      if waiting.isEmpty {
        part += 1
        file = 0
        columns.append(ColumnUnion())
        standardizer = nil
        resumed = nil
      }
    }
    return waiting.isEmpty ? nil : waiting.removeFirst()
  }

  private func fill() throws(Fault) {
    // The rest of what was looked at before, so that columns are seen as early as then.
    let wanted = resumed.map { $0.ahead > 0 ? $0.ahead : Self.lookahead } ?? Self.lookahead
    while waiting.count < wanted, file < parts[part].files.count {
      let open: any RawRowReader
      if let reader { open = reader } else { open = try openNext() }
      reader = open
      if let raw = try open.next() {
        waiting.append((raw, file))
        loader.log.update { $0.update(raw.source.file) { $0.read += 1 } }
      } else {
        reader = nil
        file += 1
      }
    }
    for (raw, _) in waiting { _ = columns[columns.count - 1].add(raw) }
  }

  private func openNext() throws(Fault) -> any RawRowReader {
    let open = try openRows(parts[part].files[file])
    // At its beginning a file may have a line of names.
    if let mark = resumed?.mark, mark != FileMark() { try open.move(to: mark) }
    resumed?.mark = nil
    return open
  }
}

/// Reads rows again that a stream had read before.
final class TicketReader {
  private let sources: [DatasetSource]
  private let loader: RowLoader
  private let position: StreamPosition
  /// The files that were opened.
  private var readers: [String: any RawRowReader] = [:]

  init(sources: [DatasetSource], loader: RowLoader, position: StreamPosition) {
    self.sources = sources
    self.loader = loader
    self.position = position
  }

  /// - Throws: `DATA-112` if there is no such row any more.
  func row(_ ticket: RowTicket) throws(Fault) -> DrawnRow {
    guard sources.indices.contains(ticket.source),
      position.columns.indices.contains(ticket.source),
      sources[ticket.source].parts.indices.contains(ticket.part),
      position.columns[ticket.source].indices.contains(ticket.part)
    else { throw .otherStream("a row of it belongs to a data set that is not there") }
    let part = sources[ticket.source].parts[ticket.part]
    guard part.files.indices.contains(ticket.file) else {
      throw .otherStream("a row of it belongs to a file that is not there")
    }
    let path = part.files[ticket.file]
    let reader: any RawRowReader
    if let open = readers[path] { reader = open } else { reader = try openRows(path) }
    readers[path] = reader
    try reader.move(to: ticket.mark)
    let names = position.columns[ticket.source][ticket.part].prefix(ticket.columns)
    let plan = try ColumnPlan(
      columns: Array(names), renames: loader.options.renames(with: part.columns), file: path)
    let standardizer = RowStandardizer(plan: plan, preset: part.preset, options: loader.options)
    guard let raw = try reader.next(), raw.mark == ticket.mark,
      let row = try standardizer.standardize(raw, pick: ticket.pick)
    else { throw .otherStream("line \(ticket.mark.line) of \(path) is another one now") }
    return DrawnRow(row: row, ticket: ticket)
  }

  /// The rows in the order of the tickets. They are read in the order of the files, because some
  /// kinds cannot go back without reading from the beginning.
  func rows(_ tickets: [RowTicket]) throws(Fault) -> [DrawnRow] {
    var rows = [DrawnRow?](repeating: nil, count: tickets.count)
    func place(_ index: Int) -> (Int, Int, Int, Int) {
      let ticket = tickets[index]
      return (ticket.source, ticket.part, ticket.file, ticket.mark.offset)
    }
    for index in tickets.indices.sorted(by: { place($0) < place($1) }) {
      rows[index] = try row(tickets[index])
    }
    return rows.compactMap { $0 }
  }
}

extension Fault {
  /// The position of a stream is of other data.
  static func otherStream(_ what: String) -> Fault {
    Fault(
      .badResume, "the data position of the checkpoint does not fit the data: \(what)",
      fix: "give the data of the run that saved it, or start with --finetune true")
  }
}
