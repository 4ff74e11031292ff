import Support
import Tensor

/// Writes one `torch.save` archive at a place of a file, its storages as streams.
///
/// Entries are stored, payloads begin at multiples of 64 bytes of the archive, checksums and sizes
/// stand in the local headers and in the directory; 64-bit records appear only where needed.
struct TorchArchiveWriter {
  private struct Entry {
    let name: String
    let headerOffset: Int
    let size: Int
    var crc: UInt32
  }

  let file: BlockFile
  /// Where the archive begins in the file.
  let base: Int
  let root: String
  /// Bytes written so far.
  private(set) var position = 0
  /// CRC-32C of all bytes so far.
  private(set) var digest = CRC32C()
  private var entries: [Entry] = []

  init(_ file: BlockFile, base: Int, root: String = "archive") {
    self.file = file
    self.base = base
    self.root = root
  }

  /// The source of the bytes of a storage: it calls the given closure as often as it likes.
  typealias Stream = ((UnsafeRawBufferPointer) throws(Fault) -> Void) throws(Fault) -> Void

  /// Writes a value with its storages, then the directory.
  /// - Parameter storages: key, size in bytes, bytes.
  /// - Throws: `CKPT-104` when a stream has another size, `FILE-003`.
  mutating func write(
    _ value: PickleValue, storages: [(key: String, size: Int, stream: Stream)] = []
  ) throws(Fault) {
    try add("data.pkl", PickleEncoder.encode(value))
    try add("byteorder", Array("little".utf8))
    for storage in storages { try add("data/" + storage.key, storage.size, storage.stream) }
    try add("version", Array("3\n".utf8))
    try finish()
  }

  private mutating func add(_ name: String, _ bytes: [UInt8]) throws(Fault) {
    try add(name, bytes.count) { (emit) throws(Fault) in
      try bytes.withRaw { (raw) throws(Fault) in try emit(raw) }
    }
  }

  /// The header goes out last, when the checksum is known; the digest takes it in first.
  private mutating func add(_ name: String, _ size: Int, _ stream: Stream) throws(Fault) {
    let name = root + "/" + name
    let headerOffset = position
    let headerSize = header(name, size: size, crc: 0, at: headerOffset).count
    var crc: UInt32 = 0
    var payload = CRC32C()
    var done = 0
    let start = base + headerOffset + headerSize
    try stream { (bytes) throws(Fault) in
      guard bytes.count <= size - done else {
        throw Fault(
          .badWriteOrder, "\(name) gets more bytes than announced", at: .file(file.path),
          expected: "\(size)", found: "\(done + bytes.count)")
      }
      try CacheParts.forEach(bytes) { (part) throws(Fault) in
        crc = CRC32.update(crc, part)
        payload.update(part)
        try file.write(part, at: start + done)
        done += part.count
      }
    }
    guard done == size else {
      throw Fault(
        .badWriteOrder, "\(name) gets fewer bytes than announced", at: .file(file.path),
        expected: "\(size)", found: "\(done)")
    }
    try put(header(name, size: size, crc: crc, at: headerOffset))
    digest.append(payload)
    position += size
    entries.append(Entry(name: name, headerOffset: headerOffset, size: size, crc: crc))
  }

  private mutating func put(_ bytes: [UInt8]) throws(Fault) {
    try bytes.withRaw { (raw) throws(Fault) in
      try file.write(raw, at: base + position)
      digest.update(raw)
    }
    position += bytes.count
  }

  private static let full = 0xFFFF_FFFF

  /// A local header whose padding record (`FB`, as torch has it) aligns the payload.
  private func header(_ name: String, size: Int, crc: UInt32, at offset: Int) -> [UInt8] {
    let long = size >= Self.full
    let fixed = 30 + name.utf8.count + (long ? 20 : 0) + 4
    let padding = (64 - (offset + fixed) % 64) % 64
    var record = RecordWriter()
    record.u32(0x0403_4B50)
    record.u16(long ? 45 : 0)
    for _ in 0..<4 { record.u16(0) }
    record.u32(Int(crc))
    record.u32(min(size, Self.full))
    record.u32(min(size, Self.full))
    record.u16(name.utf8.count)
    record.u16((long ? 20 : 0) + 4 + padding)
    record.bytes += Array(name.utf8)
    if long {
      record.u16(1)
      record.u16(16)
      record.u64(size)
      record.u64(size)
    }
    record.u16(0x4246)
    record.u16(padding)
    return record.bytes + [UInt8](repeating: UInt8(ascii: "Z"), count: padding)
  }

  private mutating func finish() throws(Fault) {
    let start = position
    var record = RecordWriter()
    for entry in entries {
      let longSize = entry.size >= Self.full
      let longOffset = entry.headerOffset >= Self.full
      let fields = (longSize ? 16 : 0) + (longOffset ? 8 : 0)
      record.u32(0x0201_4B50)
      record.u16(fields > 0 ? 45 : 0)
      record.u16(fields > 0 ? 45 : 0)
      for _ in 0..<4 { record.u16(0) }
      record.u32(Int(entry.crc))
      record.u32(min(entry.size, Self.full))
      record.u32(min(entry.size, Self.full))
      record.u16(entry.name.utf8.count)
      record.u16(fields > 0 ? fields + 4 : 0)
      for _ in 0..<3 { record.u16(0) }
      record.u32(0)
      record.u32(min(entry.headerOffset, Self.full))
      record.bytes += Array(entry.name.utf8)
      if fields > 0 {
        record.u16(1)
        record.u16(fields)
        if longSize {
          record.u64(entry.size)
          record.u64(entry.size)
        }
        if longOffset { record.u64(entry.headerOffset) }
      }
    }
    let size = record.bytes.count
    if start >= Self.full || entries.count >= 0xFFFF { end64(&record, start, size) }
    record.u32(0x0605_4B50)
    record.u32(0)
    record.u16(min(entries.count, 0xFFFF))
    record.u16(min(entries.count, 0xFFFF))
    record.u32(size)
    record.u32(min(start, Self.full))
    record.u16(0)
    try put(record.bytes)
  }

  private func end64(_ record: inout RecordWriter, _ start: Int, _ size: Int) {
    let place = start + size
    record.u32(0x0606_4B50)
    record.u64(44)
    record.u16(45)
    record.u16(45)
    record.u32(0)
    record.u32(0)
    record.u64(entries.count)
    record.u64(entries.count)
    record.u64(size)
    record.u64(start)
    record.u32(0x0706_4B50)
    record.u32(0)
    record.u64(place)
    record.u32(1)
  }
}
