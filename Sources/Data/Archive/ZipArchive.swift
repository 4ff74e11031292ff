import CZip
import Support

#if canImport(Glibc)
  import Glibc
#endif

/// A zip archive that nobody vouches for (libzip: zip64, deflate and others, checksums).
final class ZipArchive {
  struct Entry {
    let index: UInt64
    /// As written in the archive.
    let name: String
    let size: Int
  }

  private static let entryLimit = 1_000_000
  let path: String
  private let archive: OpaquePointer
  let entries: [Entry]

  /// - Throws: `FILE-00x`, `DATA-101`.
  init(_ path: String) throws(Fault) {
    _ = try PosixFile(reading: path)
    var code: Int32 = 0
    guard let archive = zip_open(path, ZIP_RDONLY, &code) else {
      throw Self.damaged(path, "libzip refuses it with code \(code)")
    }
    self.path = path
    self.archive = archive
    do throws(Fault) {
      entries = try Self.read(archive, path)
    } catch {
      zip_discard(archive)
      throw error
    }
  }

  deinit { zip_discard(archive) }

  private static func read(_ archive: OpaquePointer, _ path: String) throws(Fault) -> [Entry] {
    let count = zip_get_num_entries(archive, 0)
    guard (0...Int64(entryLimit)).contains(count) else {
      throw damaged(path, "it has \(count) entries")
    }
    var entries: [Entry] = []
    for index in 0..<UInt64(count) {
      var facts = zip_stat_t()
      guard zip_stat_index(archive, index, 0, &facts) == 0, let name = facts.name,
        facts.valid & UInt64(ZIP_STAT_SIZE) != 0, let size = Int(exactly: facts.size)
      else { throw damaged(path, "entry \(index + 1) is damaged") }
      entries.append(Entry(index: index, name: String(cString: name), size: size))
    }
    return entries
  }

  static func damaged(_ path: String, _ what: String) -> Fault {
    Fault(
      .badDataFile, "not a whole zip archive: \(what)", at: .file(path),
      fix: "download or copy the file again")
  }

  /// Writes the content of an entry into a new file; libzip compares the checksum.
  /// - Throws: `DATA-101`, `FILE-003`.
  func extract(_ entry: Entry, to target: String) throws(Fault) {
    guard let source = zip_fopen_index(archive, entry.index, 0) else {
      throw Self.damaged(path, "\(entry.name.prefix(80)) cannot be opened")
    }
    defer { zip_fclose(source) }
    let file = try PosixFile(creating: target)
    var block = [UInt8](repeating: 0, count: 1 << 20)
    var done = 0
    while true {
      let got = Int(zip_fread(source, &block, UInt64(block.count)))
      guard got >= 0, got <= entry.size - done else {
        throw Self.damaged(path, "the content of \(entry.name.prefix(80)) is damaged")
      }
      if got == 0 { break }
      try block.withRaw { (raw) throws(Fault) in
        try file.write(UnsafeRawBufferPointer(rebasing: raw[..<got]), at: done)
      }
      done += got
    }
    guard done == entry.size else {
      throw Self.damaged(path, "\(entry.name.prefix(80)) ends too early")
    }
  }
}
