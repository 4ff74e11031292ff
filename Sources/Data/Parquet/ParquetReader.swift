import Support

/// The rows of a parquet file; a row's line is its place in the file, from 1.
///
/// One page of each column is in memory at a time. The file may come from anybody: every size is
/// checked before it is used.
final class ParquetReader: RawRowReader {
  private static let footerLimit = 64 << 20
  private static let mark = Array("PAR1".utf8)

  private let file: PosixFile
  private let metadata: ParquetMetadata
  private let schema: ParquetSchema
  private let limit: Int
  private var group = 0
  private var cursors: [ColumnCursor] = []
  private var leftInGroup = 0
  private var line = 0

  /// - Throws: `FILE-00x`, `DATA-101`.
  init(path: String) throws(Fault) {
    file = try PosixFile(reading: path)
    let size = try file.size()
    guard size >= 12, try file.read(4, at: 0) == Self.mark else {
      throw ParquetFault.damaged(path, "it does not begin with PAR1")
    }
    let tail = try file.read(8, at: size - 8)
    if Array(tail[4...]) == Array("PARE".utf8) {
      throw ParquetFault.unsupported(path, "encryption")
    }
    guard Array(tail[4...]) == Self.mark else {
      throw ParquetFault.damaged(path, "it does not end with PAR1")
    }
    let count = tail[..<4].reversed().reduce(0) { $0 << 8 | Int($1) }
    guard count <= size - 12, count <= Self.footerLimit else {
      throw ParquetFault.damaged(path, "its footer has \(count) bytes")
    }
    limit = size - 8 - count
    metadata = try ParquetMetadata(try file.read(count, at: limit), path: path)
    schema = try ParquetSchema(metadata.elements, path: path)
    try Self.checkCounts(metadata, schema, size: size, path: path)
  }

  /// Rows and values need bytes: a short file cannot have any number of them.
  private static func checkCounts(
    _ metadata: ParquetMetadata, _ schema: ParquetSchema, size: Int, path: String
  ) throws(Fault) {
    let most = 100_000 + 16 * size
    var rows = 0
    for group in metadata.rowGroups {
      guard group.chunks.count == schema.leaves.count else {
        throw ParquetFault.damaged(path, "a row group has \(group.chunks.count) columns")
      }
      guard (0...most).contains(group.rows),
        group.chunks.allSatisfy({ (0...most).contains($0.values) })
      else { throw ParquetFault.damaged(path, "it claims more rows than it can have") }
      rows += group.rows
    }
    guard rows <= most else {
      throw ParquetFault.damaged(path, "it claims more rows than it can have")
    }
  }

  func next() throws(Fault) -> RawRow? {
    while leftInGroup == 0 {
      guard group < metadata.rowGroups.count else { return nil }
      try openGroup()
    }
    let mark = mark
    let entries = try entries()
    var assembly = RowAssembly(entries, path: file.path)
    return RawRow(
      columns: try assembly.row(schema.columns), source: .init(file: file.path, line: mark.line),
      mark: mark)
  }

  private func openGroup() throws(Fault) {
    let current = metadata.rowGroups[group]
    group += 1
    cursors = []
    for (chunk, leaf) in zip(current.chunks, schema.leaves) where current.rows > 0 {
      cursors.append(try ColumnCursor(file, chunk, leaf, limit: limit))
    }
    leftInGroup = current.rows
  }

  /// The values of the next row, by column.
  private func entries() throws(Fault) -> [[ColumnCursor.Entry]] {
    leftInGroup -= 1
    line += 1
    var entries: [[ColumnCursor.Entry]] = []
    entries.reserveCapacity(cursors.count)
    for cursor in cursors { entries.append(try cursor.row()) }
    return entries
  }

  var mark: FileMark { FileMark(offset: line, line: line + 1) }

  /// Row groups before it are passed over, rows of its own group are read.
  func move(to mark: FileMark) throws(Fault) {
    if mark.offset < line || mark.offset > line + leftInGroup {
      (group, line, leftInGroup, cursors) = (0, 0, 0, [])
      while group < metadata.rowGroups.count, line + metadata.rowGroups[group].rows <= mark.offset {
        line += metadata.rowGroups[group].rows
        group += 1
      }
      if group < metadata.rowGroups.count, line < mark.offset { try openGroup() }
    }
    guard mark.offset <= line + leftInGroup else {
      throw Fault(
        .unreadableFile, "the file has no row \(mark.line) any more", at: .file(file.path))
    }
    while line < mark.offset { _ = try entries() }
  }
}
