#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A lock that processes of one machine, and of machines that share a file system, take in turn. The
/// system takes it back from a process that dies.
public final class FileLock {
  private let descriptor: Int32

  /// Waits until the lock of `path` is free.
  /// - Parameters:
  ///   - waiting: called once when another process holds it.
  ///   - isStopped: asked while waiting.
  /// - Throws: `FILE-003` when the file cannot be made or locked, `RUN-104` when it was stopped.
  public init(
    _ path: String, isStopped: () -> Bool = { false }, waiting: () -> Void = {}
  ) throws(Fault) {
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw Fault(
        .cannotWrite, "cannot make the lock: \(systemMessage(errno))", at: .file(path))
    }
    var hasWaited = false
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      let code = errno
      guard code == EWOULDBLOCK || code == EINTR else {
        close(descriptor)
        throw Fault(.cannotWrite, "cannot lock: \(systemMessage(code))", at: .file(path))
      }
      if !hasWaited { waiting() }
      hasWaited = true
      if isStopped() {
        close(descriptor)
        throw Fault(.stopped, "stopped while waiting for another process", at: .file(path))
      }
      Pause.seconds(0.1)
    }
  }

  deinit { close(descriptor) }
}

extension FaultCode {
  public static let stopped = FaultCode(
    "RUN-104", .stoppedOnRequest, "a signal stopped the program; start it again to go on")
}
