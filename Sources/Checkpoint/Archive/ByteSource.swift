import Support

/// A part of a file that is read as if it were a file of its own, or bytes in memory.
///
/// Small parts are fetched once, so that the many short reads of an archive cost one system call.
struct ByteSource: Sendable {
  static let smallPart = 1 << 16

  let path: String
  let count: Int
  private let file: PosixFile?
  private let base: Int
  private let held: [UInt8]?

  /// Bytes `[offset, offset + count)` of `file`.
  /// - Throws: `FILE-002`.
  init(_ file: PosixFile, offset: Int, count: Int) throws(Fault) {
    self.file = file
    path = file.path
    base = offset
    self.count = count
    held = count <= Self.smallPart ? try file.read(count, at: offset) : nil
  }

  init(_ bytes: [UInt8], path: String) {
    file = nil
    base = 0
    self.path = path
    count = bytes.count
    held = bytes
  }

  /// Fills `buffer` from `offset` on.
  /// - Throws: `CKPT-121` when the part ends before, `FILE-002`.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Fault) {
    guard offset >= 0, buffer.count <= count, offset <= count - buffer.count else {
      throw Fault(
        .badArchive, "bytes \(offset) to \(offset) + \(buffer.count) lie outside of the archive",
        at: .file(path), found: "\(count) bytes", fix: "copy the file again")
    }
    if let held {
      held.withUnsafeBytes {
        buffer.copyMemory(from: .init(rebasing: $0[offset..<offset + buffer.count]))
      }
    } else {
      try file?.read(into: buffer, at: base + offset)
    }
  }

  /// Hands on the bytes of a range in order, in parts; see `PosixFile.stream`.
  /// - Throws: as `read`; what `body` throws.
  func stream(
    _ range: Range<Int>, granule: Int, through block: AlignedBlock,
    _ body: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    guard let file, held == nil, range.lowerBound >= 0, range.upperBound <= count else {
      return try read(range.count, at: range.lowerBound).withRaw(body)
    }
    try file.stream(
      base + range.lowerBound..<base + range.upperBound, granule: granule, through: block, body)
  }

  /// `count` bytes from `offset` on; the range is checked before anything is allocated.
  func read(_ count: Int, at offset: Int) throws(Fault) -> [UInt8] {
    guard count >= 0, offset >= 0, count <= self.count, offset <= self.count - count else {
      throw Fault(
        .badArchive, "bytes \(offset) to \(offset) + \(count) lie outside of the archive",
        at: .file(path), found: "\(self.count) bytes", fix: "copy the file again")
    }
    if let held { return Array(held[offset..<offset + count]) }
    var bytes = [UInt8](repeating: 0, count: count)
    try bytes.withMutableRaw { (raw) throws(Fault) in try read(into: raw, at: offset) }
    return bytes
  }
}
