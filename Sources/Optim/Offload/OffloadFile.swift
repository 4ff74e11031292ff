import Glibc
import Support

/// The nameless file that holds the far state of one rank.
///
/// It is unlinked as soon as it is open, so the disk gets its space back however the process ends.
/// Space is reserved at once: a full disk is found before training starts. Reads and writes bypass
/// the page cache where the file system can (the cache is the near memory that the option is to
/// save); elsewhere pages are given back after use.
///
/// Unchecked: `pread` and `pwrite` on one descriptor may run at the same time.
final class OffloadFile: @unchecked Sendable {
  /// Offsets and sizes of transfers are multiples of it, as direct transfers demand.
  static let alignment = 4096
  let path: String
  let byteCount: Int
  let isDirect: Bool
  private let descriptor: Int32

  /// - Parameters:
  ///   - folder: an existing folder.
  ///   - byteCount: a multiple of `alignment`.
  /// - Throws: `OPTIM-301` if no file can be made there, `OPTIM-302` if the disk has no room.
  init(in folder: String, byteCount: Int, rank: Int) throws(Fault) {
    let path = "\(folder)/optimizer-state-\(getpid())-\(rank)-\(UInt32.random(in: 0 ... .max))"
    var flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC
    var opened = open(path, flags | directTransfer, 0o600)
    isDirect = opened >= 0
    if opened < 0, errno == EINVAL {
      // A file system that refuses the flag may have made the file all the same.
      unlink(path)
      flags |= O_TRUNC
      opened = open(path, flags, 0o600)
    }
    guard opened >= 0 else {
      throw Fault(
        .offloadUnavailable, "no file can be made for the optimizer state: \(reason(errno))",
        at: .file(path), expected: "an existing folder that may be written",
        fix: "name a folder on a local disk with optimizer_offload_dir")
    }
    unlink(path)
    self.path = path
    self.byteCount = byteCount
    descriptor = opened
    try reserve()
  }

  /// A file that is open already; for tests of failing disks.
  init(descriptor: Int32, byteCount: Int) {
    path = "descriptor \(descriptor)"
    self.byteCount = byteCount
    isDirect = false
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  private func reserve() throws(Fault) {
    guard ftruncate(descriptor, byteCount) == 0 else { throw failure("reserve", errno) }
    guard byteCount > 0 else { return }
    let code = posix_fallocate(descriptor, 0, byteCount)
    // A file system without this call lets a full disk be found by the first step instead.
    if code != 0, code != EOPNOTSUPP, code != EINVAL { throw failure("reserve", code) }
  }

  private func failure(_ action: String, _ code: Int32) -> Fault {
    let isFull = code == ENOSPC || code == EDQUOT
    return Fault(
      .offloadFailed, "cannot \(action) optimizer state: \(reason(code))", at: .file(path),
      expected: "\(byteCount) bytes",
      fix: isFull
        ? "free space, choose another optimizer_offload_dir, or lower optimizer_offload_fraction"
        : "check the disk of optimizer_offload_dir")
  }

  /// - Throws: `OPTIM-302`.
  func read(_ target: UnsafeMutableRawBufferPointer, at offset: Int) throws(Fault) {
    try transfer("read", target, at: offset) { pread($0, $1, $2, $3) }
  }

  /// - Throws: `OPTIM-302`.
  func write(_ source: UnsafeMutableRawBufferPointer, at offset: Int) throws(Fault) {
    try transfer("write", source, at: offset) { pwrite($0, $1, $2, $3) }
  }

  /// Pages of a finished pass leave the page cache, written ones after their write-back, which
  /// this call starts.
  func dropCache() {
    if !isDirect { posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) }
  }

  private func transfer(
    _ action: String, _ memory: UnsafeMutableRawBufferPointer, at offset: Int,
    _ call: (Int32, UnsafeMutableRawPointer, Int, Int) -> Int
  ) throws(Fault) {
    var done = 0
    while done < memory.count, let base = memory.baseAddress {
      let moved = call(descriptor, base + done, memory.count - done, offset + done)
      if moved < 0, errno == EINTR { continue }
      guard moved > 0 else { throw failure(action, moved < 0 ? errno : EIO) }
      done += moved
    }
  }
}

/// Linux's `O_DIRECT`, which the C library shows to GNU programs only.
#if arch(arm64)
  private let directTransfer: Int32 = 0o200000
#else
  private let directTransfer: Int32 = 0o40000
#endif

private func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
