#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The text of a system error number.
public func systemMessage(_ code: Int32) -> String {
  var text = [CChar](repeating: 0, count: 256)
  guard strerror_r(code, &text, text.count) == 0 else { return "error \(code)" }
  return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// An open regular file with positional reads and writes; several threads may use one at a time.
public final class PosixFile: Sendable {
  /// How the bytes are used.
  public enum Use: Sendable {
    /// By several, or several times: the page cache keeps them.
    case shared
    /// Once, from begin to end: large transfers go past the page cache.
    case once
  }

  public let path: String
  private let descriptor: Int32
  private let direct: DirectAccess?

  /// Opens an existing regular file for reading.
  /// - Throws: `FILE-001` when there is none, `FILE-002` when it cannot be read or is no plain file.
  public init(reading path: String, use: Use = .shared) throws(Fault) {
    // O_NONBLOCK: opening a named pipe must not wait for its writer; it is refused just below.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw Self.openFault(path, errno) }
    var info = stat()
    guard fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw Fault(.unreadableFile, "not a plain file", at: .file(path))
    }
    self.path = path
    self.descriptor = descriptor
    direct = use == .once ? DirectAccess(path, writes: false) : nil
  }

  /// Creates a file that does not exist yet, for writing and reading.
  /// - Throws: `FILE-003` when it exists already or cannot be made.
  public convenience init(creating path: String, use: Use = .shared) throws(Fault) {
    try self.init(writing: path, O_CREAT | O_EXCL, use)
  }

  /// Opens a file for writing and reading on, cut to `size` bytes.
  /// - Throws: `FILE-003` when there is none or it cannot be written.
  public convenience init(resuming path: String, size: Int, use: Use) throws(Fault) {
    try self.init(writing: path, 0, use)
    guard ftruncate(descriptor, off_t(size)) == 0 else {
      throw Fault(.cannotWrite, "cannot cut the file: \(systemMessage(errno))", at: .file(path))
    }
  }

  private init(writing path: String, _ flags: Int32, _ use: Use) throws(Fault) {
    let descriptor = open(path, O_RDWR | O_CLOEXEC | flags, 0o644)
    guard descriptor >= 0 else {
      throw Fault(.cannotWrite, "cannot create the file: \(systemMessage(errno))", at: .file(path))
    }
    self.path = path
    self.descriptor = descriptor
    direct = use == .once ? DirectAccess(path, writes: true) : nil
  }

  deinit { close(descriptor) }

  /// Lends the descriptor to a call of a C library that reads or writes at places of its own.
  public func withDescriptor<R>(_ body: (Int32) -> R) -> R {
    withExtendedLifetime(self) { body(descriptor) }
  }

  /// The size in bytes now.
  public func size() throws(Fault) -> Int {
    var info = stat()
    guard fstat(descriptor, &info) == 0 else {
      throw Fault(
        .unreadableFile, "cannot ask for the size: \(systemMessage(errno))", at: .file(path))
    }
    return Int(info.st_size)
  }

  /// Fills `buffer` with the bytes from `offset` on.
  /// - Throws: `FILE-002` when the file ends before the buffer is full or the device fails.
  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Fault) {
    var done = 0
    if let direct = past(offset, buffer.count) { done = direct.read(into: buffer, at: offset) }
    try complete(buffer, done, at: offset)
  }

  /// Hands on the bytes of a range in order, in parts that lie in `block`. What comes past the page
  /// cache is not copied on the way.
  /// - Parameters:
  ///   - granule: parts end at multiples of it, counted from the begin of the range.
  ///   - block: at least two units and a granule; a range that fits into it with a unit to spare
  ///     comes in one part.
  /// - Throws: as `read`; what `body` throws.
  public func stream(
    _ range: Range<Int>, granule: Int = 1, through block: AlignedBlock,
    _ body: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    var offset = range.lowerBound
    while offset < range.upperBound {
      let skip = offset - AlignedBlock.down(offset)
      let room = (block.bytes.count - skip) / granule * granule
      let count = min(range.upperBound - offset, room)
      let part = UnsafeMutableRawBufferPointer(rebasing: block.bytes[skip..<skip + count])
      try complete(part, past(offset, count)?.fill(block, count, at: offset) ?? 0, at: offset)
      try body(UnsafeRawBufferPointer(part))
      offset += count
    }
  }

  /// The way past the page cache, where the file has one and the transfer is worth it.
  private func past(_ offset: Int, _ count: Int) -> DirectAccess? {
    guard let direct, count >= DirectAccess.threshold,
      !DirectAccess.isCached(descriptor, offset, count)
    else { return nil }
    return direct
  }

  /// Reads what is missing of `buffer` behind the first `done` bytes.
  private func complete(
    _ buffer: UnsafeMutableRawBufferPointer, _ done: Int, at offset: Int
  ) throws(Fault) {
    guard let base = buffer.baseAddress else { return }
    var done = done
    while done < buffer.count {
      let got = pread(descriptor, base + done, buffer.count - done, off_t(offset + done))
      if got < 0 {
        if errno == EINTR { continue }
        throw Fault(.unreadableFile, "cannot read: \(systemMessage(errno))", at: .file(path))
      }
      guard got > 0 else {
        throw Fault(
          .unreadableFile, "the file ends too early", at: .file(path),
          expected: "\(buffer.count) bytes from byte \(offset)", found: "\(done) bytes",
          fix: "the file is truncated: copy it again")
      }
      done += got
    }
  }

  /// The bytes from `offset` on, `count` of them; the caller has checked `count` against the size.
  public func read(_ count: Int, at offset: Int) throws(Fault) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    try bytes.withUnsafeMutableBufferPointer { (part) throws(Fault) in
      try read(into: UnsafeMutableRawBufferPointer(part), at: offset)
    }
    return bytes
  }

  /// Writes all of `bytes` at `offset`.
  /// - Throws: `FILE-003`; a full disk is named with the bytes wanted and the bytes free.
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Fault) {
    guard let base = bytes.baseAddress else { return }
    var done = direct?.write(bytes, at: offset) ?? 0
    while done < bytes.count {
      let put = pwrite(descriptor, base + done, bytes.count - done, off_t(offset + done))
      if put < 0 {
        if errno == EINTR { continue }
        throw writeFault(errno, left: bytes.count - done)
      }
      guard put > 0 else { throw writeFault(ENOSPC, left: bytes.count - done) }
      done += put
    }
  }

  /// Forces the content to the device.
  public func sync() throws(Fault) {
    guard fsync(descriptor) == 0 else {
      throw Fault(
        .cannotWrite, "cannot flush to the device: \(systemMessage(errno))", at: .file(path))
    }
  }

  private func writeFault(_ code: Int32, left: Int) -> Fault {
    var fault = Fault(.cannotWrite, "cannot write: \(systemMessage(code))", at: .file(path))
    guard code == ENOSPC || code == EDQUOT else { return fault }
    fault.expected = "room for \(left) more bytes of this file"
    var system = statvfs()
    if fstatvfs(descriptor, &system) == 0 {
      fault.found = "\(UInt64(system.f_bavail) * UInt64(system.f_frsize)) bytes free"
    }
    fault.fix = "free space, or save to another file system"
    return fault
  }

  static func openFault(_ path: String, _ code: Int32) -> Fault {
    code == ENOENT || code == ENOTDIR
      ? Fault(
        .missingFile, "no such file", at: .file(path), fix: "check the name, or make the file")
      : Fault(.unreadableFile, "cannot open: \(systemMessage(code))", at: .file(path))
  }
}

extension [UInt8] {
  /// Calls `body` with the bytes; keeps the typed throw that `withUnsafeBytes` loses.
  public func withRaw<R>(_ body: (UnsafeRawBufferPointer) throws(Fault) -> R) throws(Fault) -> R {
    try withUnsafeBufferPointer { (part) throws(Fault) -> R in
      try body(UnsafeRawBufferPointer(part))
    }
  }

  /// Calls `body` with the bytes, which it may change.
  public mutating func withMutableRaw<R>(
    _ body: (UnsafeMutableRawBufferPointer) throws(Fault) -> R
  ) throws(Fault) -> R {
    try withUnsafeMutableBufferPointer { (part) throws(Fault) -> R in
      try body(UnsafeMutableRawBufferPointer(part))
    }
  }
}
