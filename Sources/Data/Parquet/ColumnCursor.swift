import Support

/// The values of one column of one row group, with the levels that place them.
final class ColumnCursor {
  struct Entry {
    let repetition: Int
    let definition: Int
    /// nil where it is missing.
    let value: JSONValue?
  }

  /// Most values of one row.
  static let rowLimit = 1 << 20

  private let source: PageSource
  private let leaf: ParquetNode
  private let path: String
  private var page: PageSource.Page?
  private var leftInPage = 0
  private var left: Int
  /// The first entry of the next row, which had to be read to see that the last one ended.
  private var pending: Entry?

  init(
    _ file: PosixFile, _ chunk: ParquetMetadata.Chunk, _ leaf: ParquetNode, limit: Int
  ) throws(Fault) {
    source = try PageSource(file, chunk, leaf, limit: limit)
    self.leaf = leaf
    path = file.path
    left = chunk.values
  }

  /// All entries of the next row.
  /// - Throws: `DATA-101` when there are none.
  func row() throws(Fault) -> [Entry] {
    let next: Entry?
    if let pending { next = pending } else { next = try read() }
    guard let first = next, first.repetition == 0 else {
      throw ParquetFault.damaged(path, "column \(leaf.name) has fewer rows than the others")
    }
    pending = nil
    guard leaf.level > 0 else { return [first] }
    var entries = [first]
    while let entry = try read() {
      if entry.repetition == 0 {
        pending = entry
        break
      }
      guard entries.count < Self.rowLimit else {
        throw ParquetFault.damaged(path, "a row has more than \(Self.rowLimit) values")
      }
      entries.append(entry)
    }
    return entries
  }

  private func read() throws(Fault) -> Entry? {
    guard left > 0 else { return nil }
    while leftInPage == 0 {
      guard let next = try source.next() else { throw ParquetFault.cut(path) }
      page = next
      leftInPage = next.values
    }
    left -= 1
    leftInPage -= 1
    let repetition = try page?.repetition?.next() ?? 0
    let definition = try page?.definition?.next() ?? 0
    guard repetition <= leaf.level, definition <= leaf.definition else {
      throw ParquetFault.damaged(path, "column \(leaf.name) has levels that cannot be")
    }
    let isThere = definition == leaf.definition
    return Entry(
      repetition: repetition, definition: definition,
      value: isThere ? try page?.content.next() : nil)
  }
}
