import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The second way into a file, past the page cache, for bytes that are used once.
///
/// A system or file system that has no such way refuses it; the caller then uses the first.
final class DirectAccess: Sendable {
  private struct State {
    var descriptor: Int32?
    var isRefused = false
    var idle: [AlignedBlock] = []
  }

  /// Bytes of one transfer, and from how many on a transfer is worth it.
  static let blockBytes = 4 << 20
  static let threshold = 256 << 10
  /// `O_DIRECT` of Linux, which the C library shows to GNU programs only.
  #if arch(arm64) || arch(arm)
    private static let flag: Int32 = 0o200000
  #else
    private static let flag: Int32 = 0o40000
  #endif
  private let path: String
  private let writes: Bool
  private let state = Mutex(State())

  init(_ path: String, writes: Bool) {
    self.path = path
    self.writes = writes
  }

  deinit { state.withLock { if let descriptor = $0.descriptor { close(descriptor) } } }

  private var descriptor: Int32? {
    state.withLock { state -> Int32? in
      if let descriptor = state.descriptor { return descriptor }
      if state.isRefused { return nil }
      #if canImport(Darwin)
        state.isRefused = true
      #else
        let mode = (writes ? O_WRONLY : O_RDONLY) | Self.flag | O_CLOEXEC
        let opened = open(path, mode)
        state.isRefused = opened < 0
        if opened >= 0 { state.descriptor = opened }
      #endif
      return state.descriptor
    }
  }

  private func refuse() { state.withLock { $0.isRefused = true } }

  private func borrow() -> AlignedBlock {
    state.withLock { $0.idle.popLast() } ?? AlignedBlock(Self.blockBytes)
  }

  private func giveBack(_ block: AlignedBlock) { state.withLock { $0.idle.append(block) } }

  /// Reads as many bytes as come without trouble, through a block, because a file and the memory of a
  /// caller rarely suit each other.
  /// - Returns: how many bytes of `buffer` are filled; the caller reads the rest.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Int {
    guard buffer.count >= Self.threshold, let base = buffer.baseAddress, let descriptor else {
      return 0
    }
    let block = borrow()
    defer { giveBack(block) }
    var done = 0
    while done < buffer.count {
      let from = AlignedBlock.down(offset + done)
      let skip = offset + done - from
      let wanted = min(AlignedBlock.up(skip + buffer.count - done), block.bytes.count)
      let got = transfer(
        descriptor, UnsafeMutableRawBufferPointer(rebasing: block.bytes[..<wanted]), from)
      guard got > skip else { return done }
      let count = min(got - skip, buffer.count - done)
      (base + done).copyMemory(
        from: UnsafeRawPointer(block.bytes.baseAddress! + skip), byteCount: count)
      done += count
      if got < wanted { return done }
    }
    return done
  }

  /// Reads the bytes from `offset` on, and those around them that fill whole units, straight into
  /// suitable memory.
  /// - Parameter block: room for the units; the bytes come to lie at `offset % AlignedBlock.unit`.
  /// - Returns: how many of `count` bytes are there; the caller reads the rest.
  func fill(_ block: AlignedBlock, _ count: Int, at offset: Int) -> Int {
    guard count >= Self.threshold, let descriptor else { return 0 }
    let from = AlignedBlock.down(offset)
    let skip = offset - from
    let units = block.bytes[..<AlignedBlock.up(skip + count)]
    let got = transfer(descriptor, UnsafeMutableRawBufferPointer(rebasing: units), from)
    return max(0, min(got - skip, count))
  }

  /// Reads whole units until memory is full, the file ends or the system refuses.
  private func transfer(
    _ descriptor: Int32, _ memory: UnsafeMutableRawBufferPointer, _ offset: Int
  ) -> Int {
    guard let base = memory.baseAddress else { return 0 }
    var done = 0
    while done < memory.count {
      let got = pread(descriptor, base + done, memory.count - done, off_t(offset + done))
      if got < 0, errno == EINTR { continue }
      if got < 0, errno == EINVAL { refuse() }
      guard got > 0 else { return done }
      done += got
      // What is no multiple is the end of the file, or a system that stops where it likes.
      if got % AlignedBlock.unit != 0 { return done }
    }
    return done
  }

  /// Writes whole units from suitable memory.
  /// - Returns: how many bytes were written; the caller writes the rest: what is less than a unit, or
  ///   all of it when address or place do not suit.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Int {
    guard let base = bytes.baseAddress, bytes.count >= Self.threshold,
      (Int(bitPattern: base) | offset) & (AlignedBlock.unit - 1) == 0,
      let descriptor
    else { return 0 }
    let whole = AlignedBlock.down(bytes.count)
    var done = 0
    while done < whole {
      let put = pwrite(descriptor, base + done, whole - done, off_t(offset + done))
      if put < 0, errno == EINTR { continue }
      if put < 0, errno == EINVAL { refuse() }
      guard put > 0, put % AlignedBlock.unit == 0 else { return max(done, 0) }
      done += put
    }
    return done
  }

  /// Whether the bytes lie in memory already, judged by a few pages of them.
  static func isCached(_ descriptor: Int32, _ offset: Int, _ count: Int) -> Bool {
    let last = offset + count - 1
    for place in [offset, offset + count / 2, last] {
      let page = AlignedBlock.down(place)
      guard let map = mmap(nil, AlignedBlock.unit, PROT_READ, MAP_SHARED, descriptor, off_t(page)),
        map != MAP_FAILED
      else { return false }
      defer { munmap(map, AlignedBlock.unit) }
      var isResident: UInt8 = 0
      guard mincore(map, AlignedBlock.unit, &isResident) == 0, isResident & 1 == 1 else {
        return false
      }
    }
    return true
  }
}
