import CZlib
import Support

/// The pages of one column of one row group, expanded one at a time.
final class PageSource {
  /// Most bytes of an expanded page.
  static let sizeLimit = 256 << 20

  /// A page with its levels and values.
  struct Page {
    let values: Int
    var repetition: HybridRuns?
    var definition: HybridRuns?
    var content: PageValues
  }

  private let file: PosixFile
  private let chunk: ParquetMetadata.Chunk
  private let leaf: ParquetNode
  private let meaning: ValueMeaning
  private let compression: PageCompression
  private var at: Int
  private let end: Int
  private var dictionary: [JSONValue]?

  /// - Parameter limit: where the footer begins.
  /// - Throws: `DATA-101` for a column that lies outside of the file.
  init(
    _ file: PosixFile, _ chunk: ParquetMetadata.Chunk, _ leaf: ParquetNode, limit: Int
  ) throws(Fault) {
    guard let meaning = leaf.meaning, chunk.type == meaning.storage.rawValue else {
      throw ParquetFault.damaged(file.path, "column \(leaf.name) has another type")
    }
    guard !chunk.isEncrypted else { throw ParquetFault.unsupported(file.path, "encryption") }
    guard !chunk.isElsewhere else {
      throw ParquetFault.unsupported(file.path, "columns in other files")
    }
    (self.file, self.chunk, self.leaf, self.meaning) = (file, chunk, leaf, meaning)
    compression = try PageCompression(codec: chunk.codec, path: file.path)
    at = chunk.dataOffset
    if let first = chunk.dictionaryOffset, first >= 4, first < at { at = first }
    guard at >= 4, chunk.compressedSize >= 0, chunk.values >= 0, at <= limit,
      chunk.compressedSize <= limit - at
    else { throw ParquetFault.damaged(file.path, "column \(leaf.name) lies outside") }
    end = at + chunk.compressedSize
  }

  /// The next page that holds rows, nil after the last.
  /// - Throws: `DATA-101`.
  func next() throws(Fault) -> Page? {
    while at < end {
      let (header, size) = try readHeader()
      let start = at + size
      guard header.compressedSize >= 0, header.size >= 0, header.size <= Self.sizeLimit,
        header.values >= 0, header.compressedSize <= end - start
      else { throw ParquetFault.damaged(file.path, "a page lies outside of its column") }
      at = start + header.compressedSize
      if header.kind == .other { continue }
      let bytes = try file.read(header.compressedSize, at: start)
      try check(bytes, header)
      switch header.kind {
      case .dictionary: try readDictionary(bytes, header)
      case .data: return try page(bytes, header)
      case .dataV2: return try pageV2(bytes, header)
      case .other: break
      }
    }
    return nil
  }

  /// Headers are short; those with long statistics need a second look.
  private func readHeader() throws(Fault) -> (PageHeader, Int) {
    var size = 512
    while true {
      let part = try file.read(min(size, end - at), at: at)
      let reader = ThriftReader(part, path: file.path)
      do throws(Fault) {
        return (try PageHeader(reader), reader.at)
      } catch {
        guard part.count == size, size < 1 << 24 else { throw error }
        size *= 16
      }
    }
  }

  private func check(_ bytes: [UInt8], _ header: PageHeader) throws(Fault) {
    guard let wanted = header.checksum, !bytes.isEmpty else { return }
    let found = crc32(0, bytes, UInt32(bytes.count))
    guard found == UInt(wanted) else {
      throw ParquetFault.damaged(file.path, "a page fails its checksum")
    }
  }

  private func readDictionary(_ bytes: [UInt8], _ header: PageHeader) throws(Fault) {
    let content = try compression.expand(bytes[...], to: header.size, path: file.path)
    // Every value needs its bytes.
    let most: Int
    switch meaning.storage {
    case .boolean: most = content.count * 8
    case .bytes: most = content.count / 4
    default: most = content.count / meaning.length
    }
    guard dictionary == nil, header.values <= most else {
      throw ParquetFault.damaged(file.path, "a dictionary is damaged")
    }
    var values = try PageValues(
      content, 0..<content.count, encoding: 0, count: header.values, meaning: meaning,
      dictionary: nil, path: file.path)
    var list: [JSONValue] = []
    list.reserveCapacity(header.values)
    for _ in 0..<header.values { list.append(try values.next()) }
    dictionary = list
  }

  private func page(_ bytes: [UInt8], _ header: PageHeader) throws(Fault) -> Page {
    let content = try compression.expand(bytes[...], to: header.size, path: file.path)
    var at = 0
    let repetition = try levels(content, &at, most: leaf.level, header.repetitionEncoding)
    let definition = try levels(content, &at, most: leaf.definition, header.definitionEncoding)
    return Page(
      values: header.values, repetition: repetition, definition: definition,
      content: try values(content, at..<content.count, header))
  }

  /// Levels with their size in front.
  private func levels(
    _ content: [UInt8], _ at: inout Int, most: Int, _ encoding: Int
  ) throws(Fault) -> HybridRuns? {
    guard most > 0 else { return nil }
    guard encoding == 3 else {
      throw ParquetFault.unsupported(file.path, "the old encoding of levels")
    }
    guard at + 4 <= content.count else { throw ParquetFault.cut(file.path) }
    let size = content[at..<at + 4].reversed().reduce(0) { $0 << 8 | Int($1) }
    at += 4
    guard size <= content.count - at else { throw ParquetFault.cut(file.path) }
    defer { at += size }
    return try HybridRuns(content, at..<at + size, width: Self.width(most), path: file.path)
  }

  private func pageV2(_ bytes: [UInt8], _ header: PageHeader) throws(Fault) -> Page {
    let (first, second) = (header.repetitionSize, header.definitionSize)
    guard first >= 0, second >= 0, first <= bytes.count, second <= bytes.count - first,
      first + second <= header.size
    else { throw ParquetFault.cut(file.path) }
    let repetition = try runs(bytes, 0..<first, most: leaf.level)
    let definition = try runs(bytes, first..<first + second, most: leaf.definition)
    let rest = bytes[(first + second)...]
    let size = header.size - first - second
    let content =
      header.isCompressed && !(rest.isEmpty && size == 0)
      ? try compression.expand(rest, to: size, path: file.path) : Array(rest)
    return Page(
      values: header.values, repetition: repetition, definition: definition,
      content: try values(content, 0..<content.count, header))
  }

  private func runs(_ bytes: [UInt8], _ range: Range<Int>, most: Int) throws(Fault) -> HybridRuns? {
    most > 0 ? try HybridRuns(bytes, range, width: Self.width(most), path: file.path) : nil
  }

  private func values(
    _ content: [UInt8], _ range: Range<Int>, _ header: PageHeader
  ) throws(Fault) -> PageValues {
    try PageValues(
      content, range, encoding: header.encoding, count: header.values, meaning: meaning,
      dictionary: dictionary, path: file.path)
  }

  /// Bits of numbers up to `most`.
  private static func width(_ most: Int) -> Int { Int.bitWidth - most.leadingZeroBitCount }
}
