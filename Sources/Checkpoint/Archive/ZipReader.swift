import Support

/// The entries of a zip archive that only stores (APPNOTE 6.3.10, method 0).
///
/// Sizes and checksums come from the central directory; the local headers of torch are empty and
/// serve only to find where a payload begins.
struct ZipReader: Sendable {
  struct Entry: Sendable {
    let name: String
    let size: Int
    let crc: UInt32
    let headerOffset: Int
    /// Where the next entry or the directory begins: a payload ends before it.
    var limit = 0
  }

  static let entryLimit = 100_000
  private static let localSignature = 0x0403_4B50
  private static let centralSignature = 0x0201_4B50
  private static let endSignature = 0x0605_4B50
  private static let end64Signature = 0x0606_4B50
  private static let locator64Signature = 0x0706_4B50

  let source: ByteSource
  let entries: [Entry]
  private let index: [String: Int]

  subscript(name: String) -> Entry? { index[name].map { entries[$0] } }

  /// Reads the directory and checks that all entries lie apart inside the archive.
  /// - Throws: `CKPT-121`.
  init(_ source: ByteSource) throws(Fault) {
    self.source = source
    let directory = try Self.findDirectory(source)
    var entries = try Self.readDirectory(source, directory)
    let order = entries.indices.sorted { entries[$0].headerOffset < entries[$1].headerOffset }
    for (i, place) in order.enumerated() {
      entries[place].limit =
        i + 1 < order.count ? entries[order[i + 1]].headerOffset : directory.offset
      let room = entries[place].limit - entries[place].headerOffset
      guard room >= 30, entries[place].size <= room - 30 else {
        throw Self.bad(source, "entry \(entries[place].name) overlaps its neighbour")
      }
    }
    var index: [String: Int] = [:]
    for (i, entry) in entries.enumerated() {
      guard index.updateValue(i, forKey: entry.name) == nil else {
        throw Self.bad(source, "entry \(entry.name) is there twice")
      }
    }
    self.entries = entries
    self.index = index
  }

  /// Where the payload of an entry begins.
  /// - Throws: `CKPT-121`.
  func payload(of entry: Entry) throws(Fault) -> Int {
    let header = RecordReader(bytes: try source.read(30, at: entry.headerOffset))
    guard header.u32(0) == Self.localSignature else {
      throw Self.bad(source, "entry \(entry.name) has no header at its place")
    }
    let nameSize = header.u16(26)
    guard nameSize == entry.name.utf8.count,
      try source.read(nameSize, at: entry.headerOffset + 30) == Array(entry.name.utf8)
    else { throw Self.bad(source, "entry \(entry.name) has another name in its header") }
    let start = entry.headerOffset + 30 + nameSize + header.u16(28)
    guard start <= entry.limit, entry.size <= entry.limit - start else {
      throw Self.bad(source, "entry \(entry.name) overlaps its neighbour")
    }
    return start
  }

  /// The whole content of an entry, checked.
  /// - Throws: `CKPT-121`, `CKPT-122`.
  func content(of entry: Entry) throws(Fault) -> [UInt8] {
    let bytes = try source.read(entry.size, at: try payload(of: entry))
    try bytes.withRaw { (raw) throws(Fault) in try check(entry, crc: CRC32.of(raw)) }
    return bytes
  }

  /// Reads an entry in blocks and compares its checksum.
  /// - Throws: `CKPT-121`, `CKPT-122`.
  func verify(_ entry: Entry) throws(Fault) {
    let start = try payload(of: entry)
    var block = [UInt8](repeating: 0, count: min(4 << 20, max(entry.size, 1)))
    var done = 0
    var crc: UInt32 = 0
    while done < entry.size {
      let count = min(block.count, entry.size - done)
      crc = try block.withMutableRaw { (raw) throws(Fault) -> UInt32 in
        let part = UnsafeMutableRawBufferPointer(rebasing: raw[..<count])
        try source.read(into: part, at: start + done)
        return CRC32.update(crc, UnsafeRawBufferPointer(part))
      }
      done += count
    }
    try check(entry, crc: crc)
  }

  func check(_ entry: Entry, crc: UInt32) throws(Fault) {
    guard crc == entry.crc else {
      throw Fault(
        .badArchiveChecksum, "the content of \(entry.name) fails its checksum",
        at: .file(source.path), expected: String(entry.crc, radix: 16),
        found: String(crc, radix: 16), fix: "the file is damaged: copy it again")
    }
  }

  private static func bad(_ source: ByteSource, _ message: String) -> Fault {
    Fault(
      .badArchive, "not a whole torch archive: \(message)", at: .file(source.path),
      fix: "copy the file again")
  }

  // MARK: Directory

  private struct Directory {
    var offset: Int
    var size: Int
    var count: Int
  }

  /// Finds the end record (at most 64 KiB of comment after it) and its 64-bit form.
  private static func findDirectory(_ source: ByteSource) throws(Fault) -> Directory {
    guard source.count >= 22 else { throw bad(source, "it has only \(source.count) bytes") }
    let tailSize = min(source.count, 22 + 0xFFFF)
    var tail = RecordReader(
      bytes: try source.read(min(tailSize, 4096), at: source.count - min(tailSize, 4096)))
    var found = endRecord(tail)
    if found == nil, tailSize > 4096 {
      tail = RecordReader(bytes: try source.read(tailSize, at: source.count - tailSize))
      found = endRecord(tail)
    }
    guard let at = found else { throw bad(source, "it has no end record") }
    let end = source.count - tail.bytes.count + at
    var directory = Directory(
      offset: tail.u32(at + 16), size: tail.u32(at + 12), count: tail.u16(at + 10))
    var limit = end
    if end >= 20 {
      let locator = RecordReader(bytes: try source.read(20, at: end - 20))
      if locator.u32(0) == locator64Signature {
        guard let place = locator.u64(8), place <= end - 20 - 56 else {
          throw bad(source, "its 64-bit end record lies outside")
        }
        directory = try read64(source, place, directory)
        limit = place
      }
    }
    guard directory.offset <= limit, directory.size <= limit - directory.offset else {
      throw bad(source, "its directory lies outside")
    }
    guard directory.count <= entryLimit else {
      throw bad(source, "it has \(directory.count) entries, more than \(entryLimit)")
    }
    return directory
  }

  private static func endRecord(_ tail: RecordReader) -> Int? {
    var at = tail.bytes.count - 22
    while at >= 0 {
      if tail.bytes[at] == 0x50, tail.u32(at) == endSignature,
        tail.u16(at + 20) == tail.bytes.count - at - 22
      {
        return at
      }
      at -= 1
    }
    return nil
  }

  private static func read64(
    _ source: ByteSource, _ place: Int, _ short: Directory
  ) throws(Fault) -> Directory {
    let record = RecordReader(bytes: try source.read(56, at: place))
    guard record.u32(0) == end64Signature, let count = record.u64(32), let size = record.u64(40),
      let offset = record.u64(48)
    else { throw bad(source, "its 64-bit end record is damaged") }
    func agree(_ short: Int, _ full: Int, _ marker: Int) -> Bool {
      short == marker || short == full
    }
    guard agree(short.count, count, 0xFFFF), agree(short.size, size, 0xFFFF_FFFF),
      agree(short.offset, offset, 0xFFFF_FFFF)
    else { throw bad(source, "its two end records disagree") }
    return Directory(offset: offset, size: size, count: count)
  }

  private static func readDirectory(
    _ source: ByteSource, _ directory: Directory
  ) throws(Fault) -> [Entry] {
    let record = RecordReader(bytes: try source.read(directory.size, at: directory.offset))
    var entries: [Entry] = []
    var at = 0
    for _ in 0..<directory.count {
      guard at + 46 <= record.bytes.count, record.u32(at) == centralSignature else {
        throw bad(source, "its directory is damaged")
      }
      let nameSize = record.u16(at + 28)
      let extraSize = record.u16(at + 30)
      let next = at + 46 + nameSize + extraSize + record.u16(at + 32)
      guard next <= record.bytes.count else { throw bad(source, "its directory is cut off") }
      let nameBytes = record.bytes[(at + 46)..<(at + 46 + nameSize)]
      guard let name = String(validating: nameBytes, as: UTF8.self), !name.isEmpty,
        !name.hasPrefix("/"), !name.split(separator: "/").contains("..")
      else { throw bad(source, "an entry has a refused name") }
      guard record.u16(at + 10) == 0, record.u16(at + 8) & 1 == 0 else {
        throw bad(source, "entry \(name) is compressed or encrypted")
      }
      let extra = (at + 46 + nameSize)..<(at + 46 + nameSize + extraSize)
      entries.append(try entry(source, record, at, name, extra))
      at = next
    }
    guard at == record.bytes.count else { throw bad(source, "its directory has bytes left over") }
    return entries
  }

  private static func entry(
    _ source: ByteSource, _ record: RecordReader, _ at: Int, _ name: String, _ extra: Range<Int>
  ) throws(Fault) -> Entry {
    var stored = record.u32(at + 20)
    var size = record.u32(at + 24)
    var offset = record.u32(at + 42)
    // 64-bit fields follow in this order, each only where the short field is full.
    var place = extra.lowerBound
    while place + 4 <= extra.upperBound {
      let end = place + 4 + record.u16(place + 2)
      guard end <= extra.upperBound else { throw bad(source, "entry \(name) has a damaged field") }
      if record.u16(place) == 1 {
        var field = place + 4
        func long(_ value: Int) throws(Fault) -> Int {
          guard value == 0xFFFF_FFFF else { return value }
          guard field + 8 <= end, let full = record.u64(field) else {
            throw bad(source, "entry \(name) has a damaged 64-bit field")
          }
          field += 8
          return full
        }
        size = try long(size)
        stored = try long(stored)
        offset = try long(offset)
      }
      place = end
    }
    guard stored == size, size <= source.count, offset <= source.count else {
      throw bad(source, "entry \(name) lies outside")
    }
    return Entry(
      name: name, size: size, crc: UInt32(record.u32(at + 16)), headerOffset: offset)
  }
}
