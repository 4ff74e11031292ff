import Support

/// Reads a storage once from begin to end, for its checksum, and keeps the runs that are wanted.
struct StorageStream {
  let zip: ZipReader
  let entry: ZipReader.Entry
  /// Where the storage begins in the archive, and the tensor in the storage.
  let start: Int
  let shift: Int
  static let block = 4 << 20

  func copy(_ runs: BoxRuns, into buffer: UnsafeMutableRawBufferPointer) throws(Fault) {
    var block = [UInt8](repeating: 0, count: min(Self.block, entry.size))
    var held = 0..<0
    var crc: UInt32 = 0
    func next() throws(Fault) {
      let count = min(block.count, entry.size - held.upperBound)
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
    while held.upperBound < entry.size { try next() }
    try zip.check(entry, crc: crc)
  }
}
