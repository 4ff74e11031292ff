import Support

/// Compares every byte of a checkpoint with its checksums, those of the manifest or, in a checkpoint
/// of another program, those of the archives.
public enum ContentCheck {
  /// - Parameters:
  ///   - part: of `parts` that share the work.
  /// - Throws: `CKPT-121` to `CKPT-144`, `FILE-002`.
  public static func verify(_ folder: String, part: Int = 0, of parts: Int = 1) throws(Fault) {
    if let manifest = try Manifest.read(folder) {
      return try manifest.verify(folder, part: part, of: parts)
    }
    try TorchDistReader(folder).checkItems(part: part, of: parts)
  }
}

extension TorchDistReader {
  /// Tests the checksums of every `parts`-th item.
  /// - Throws: `CKPT-121`, `CKPT-122` naming tensor and file.
  func checkItems(part: Int, of parts: Int) throws(Fault) {
    var items = index.objects.map { ($0.key, $0.value) }
    for (key, tensor) in index.tensors { items += tensor.chunks.map { (key, $0.location) } }
    items.sort { ($0.1.file, $0.1.offset) < ($1.1.file, $1.1.offset) }
    for (i, item) in items.enumerated() where i % max(parts, 1) == part {
      do throws(Fault) {
        try ZipReader(try source(item.1)).checkAll()
      } catch {
        var named = error
        named.place = .tensor(item.0, file: folder + "/" + item.1.file)
        throw named
      }
    }
  }
}

extension ZipReader {
  private static let blockBytes = 4 << 20

  /// Tests the checksum of every entry, in bounded memory.
  /// - Throws: `CKPT-121`, `CKPT-122`.
  func checkAll() throws(Fault) {
    for entry in entries {
      let start = try payload(of: entry)
      var block = [UInt8](repeating: 0, count: min(Self.blockBytes, max(entry.size, 1)))
      var crc: UInt32 = 0
      var done = 0
      while done < entry.size {
        try block.withMutableRaw { (raw) throws(Fault) in
          let count = min(raw.count, entry.size - done)
          let piece = UnsafeMutableRawBufferPointer(rebasing: raw[..<count])
          try source.read(into: piece, at: start + done)
          crc = CRC32.update(crc, UnsafeRawBufferPointer(piece))
          done += count
        }
      }
      try check(entry, crc: crc)
    }
  }
}
