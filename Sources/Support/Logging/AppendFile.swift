#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A file that only grows: `logging.jsonl`, event files, result files.
///
/// Every append is complete when the call returns, so a run that is killed loses nothing it has
/// reported; a full disk is a fault of the call that met it.
public final class AppendFile {
  public let path: String
  private var descriptor: Int32

  /// Opens the file for appending and makes it when it is not there.
  /// - Throws: `FILE-003` when the file cannot be made or opened.
  public init(path: String) throws(Fault) {
    self.path = path
    descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    if descriptor < 0 { throw Self.fault("cannot be opened for writing", path, errno) }
  }

  deinit { if descriptor >= 0 { _ = close_(descriptor) } }

  /// Appends the bytes.
  /// - Throws: `FILE-003` with the reason of the system (no space left, quota, read-only …).
  public func append(_ bytes: [UInt8]) throws(Fault) {
    guard descriptor >= 0 else { throw Self.fault("is closed already", path, EBADF) }
    if let code = Terminal.writeAll(bytes, to: descriptor) {
      throw Self.fault("cannot be written", path, code)
    }
  }

  /// Appends the text and a line end.
  public func append(line: String) throws(Fault) { try append(Array((line + "\n").utf8)) }

  /// Waits until the file is on the disk, so that errors the system kept back appear.
  public func synchronize() throws(Fault) {
    guard descriptor >= 0 else { return }
    // Pipes and devices cannot be synchronised; that loses nothing.
    if fsync(descriptor) != 0, errno != EINVAL, errno != EROFS {
      throw Self.fault("cannot be brought to the disk", path, errno)
    }
  }

  /// Closes the file; some systems report a full disk only here.
  public func close() throws(Fault) {
    guard descriptor >= 0 else { return }
    let result = close_(descriptor)
    descriptor = -1
    if result != 0 { throw Self.fault("cannot be closed", path, errno) }
  }

  private static func fault(_ what: String, _ path: String, _ code: Int32) -> Fault {
    var fault = Fault(
      .cannotWrite, "the file \(what): \(systemErrorText(code))", at: .file(path),
      fix: code == ENOSPC || code == EDQUOT
        ? "make room on the disk, then start again from the last checkpoint"
        : "check the folder and its permissions")
    fault.found = "errno \(code)"
    return fault
  }
}

/// `close` is also the name of a method above.
private func close_(_ descriptor: Int32) -> Int32 { close(descriptor) }

/// The system's sentence for an `errno`.
public func systemErrorText(_ code: Int32) -> String {
  String(cString: strerror(code))
}
