#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Writes under a temporary name beside the target and renames into place, so that a reader sees
/// the old file or the whole new one, also after a power cut.
public enum AtomicFile {
  /// A name that no other process or call uses, from the time and the process.
  public static func uniqueName() -> String {
    String(UInt64.random(in: .min ... .max), radix: 36) + "_" + String(getpid(), radix: 36)
  }

  /// Replaces the content of `path`: temporary file, flush, rename, flush of the folder.
  /// - Throws: `FILE-003`; the temporary file is removed and the old content stays.
  public static func write(_ bytes: [UInt8], to path: String) throws(Fault) {
    let folder = Folder.parent(path)
    let temporary = folder + "/.tmp_" + Folder.name(path) + "_" + uniqueName()
    do {
      let file = try PosixFile(creating: temporary)
      try bytes.withRaw { (raw) throws(Fault) in try file.write(raw, at: 0) }
      try file.sync()
      try Folder.rename(temporary, to: path)
    } catch {
      unlink(temporary)
      throw error
    }
    try Folder.sync(folder)
  }

  public static func write(_ text: String, to path: String) throws(Fault) {
    try write(Array(text.utf8), to: path)
  }

  /// The whole content of a file of at most `limit` bytes.
  /// - Throws: `FILE-001` or `FILE-002`.
  public static func read(_ path: String, limit: Int = 1 << 30) throws(Fault) -> [UInt8] {
    let file = try PosixFile(reading: path)
    let size = try file.size()
    guard size <= limit else {
      throw Fault(
        .unreadableFile, "the file is too large", at: .file(path),
        expected: "at most \(limit) bytes", found: "\(size) bytes")
    }
    return try file.read(size, at: 0)
  }
}
