import Support

/// Reads a storage, or a part of it, once from begin to end, for its checksum, and keeps the runs that
/// are wanted.
struct StorageStream {
  let zip: ZipReader
  let entry: ZipReader.Entry
  /// Where the storage begins in the archive, and the tensor in the storage.
  let start: Int
  let shift: Int
  static let block = 4 << 20

  /// Copies the runs and checks the whole storage.
  /// - Throws: `CKPT-121` to `CKPT-123`, `FILE-002`.
  func copy(_ runs: BoxRuns, into buffer: UnsafeMutableRawBufferPointer) throws(Fault) {
    try zip.check(entry, crc: try copy(runs, of: 0..<entry.size, into: buffer))
  }

  /// Copies the runs, which lie in `range` of the storage.
  /// - Returns: the checksum of the bytes in `range`.
  func copy(
    _ runs: BoxRuns, of range: Range<Int>, into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) -> UInt32 {
    var block = [UInt8](repeating: 0, count: min(Self.block, range.count))
    var held = range.lowerBound..<range.lowerBound
    var crc: UInt32 = 0
    func next() throws(Fault) {
      let count = min(block.count, range.upperBound - held.upperBound)
      guard count > 0 else {
        throw Fault(.badTensorRecord, "a tensor leaves its storage", at: .file(zip.source.path))
      }
      held = held.upperBound..<held.upperBound + count
      crc = try block.withMutableRaw { (raw) throws(Fault) -> UInt32 in
        let part = UnsafeMutableRawBufferPointer(rebasing: raw[..<count])
        try zip.source.read(into: part, at: start + held.lowerBound)
        return CRC32.update(crc, UnsafeRawBufferPointer(part))
      }
    }
    try runs.forEach { (run) throws(Fault) in
      var from = run.source + shift
      var to = run.target
      let end = from + run.count
      while from < end {
        while held.upperBound <= from { try next() }
        let count = min(end, held.upperBound) - from
        block.withUnsafeBytes {
          let part = $0[(from - held.lowerBound)..<(from - held.lowerBound + count)]
          UnsafeMutableRawBufferPointer(rebasing: buffer[to..<to + count])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: part))
        }
        from += count
        to += count
      }
    }
    while held.upperBound < range.upperBound { try next() }
    return crc
  }
}
