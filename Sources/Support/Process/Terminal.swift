#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What is known about the three standard streams.
public enum Terminal {
  /// One of the standard output streams.
  public enum Stream: Int32, Sendable {
    case output = 1
    case error = 2
  }

  /// Whether the stream is a terminal.
  ///
  /// Under `mpirun` standard output always claims to be one (each rank gets a pseudo terminal
  /// there), so decisions are made on standard error only.
  public static func isInteractive(_ stream: Stream = .error) -> Bool {
    isatty(stream.rawValue) == 1
  }

  /// Columns of the terminal; 80 when unknown.
  public static func width(_ stream: Stream = .error) -> Int {
    var size = winsize()
    guard ioctl(stream.rawValue, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
  }

  /// Writes the text in as few calls as possible, so that whole lines of several ranks stay whole.
  ///
  /// Waits for a slow reader, except after a signal: `mpirun` that is told to end sends its ranks
  /// one at once and reads no more from then on. A rank that waited there could not save.
  ///
  /// - Returns: false when the stream is closed or full; there is nobody left to tell.
  @discardableResult
  public static func write(_ text: String, to stream: Stream) -> Bool {
    let bytes = Array(text.utf8)
    guard SignalFlags.secondsSinceNewest < watchfulSeconds else {
      return writeAll(bytes, to: stream.rawValue) == nil
    }
    return offer(bytes, to: stream.rawValue, patience: 0.05) == nil
  }

  /// How long after a signal nobody is waited for; longer than any `mpirun` leaves its ranks.
  private static let watchfulSeconds = 600.0

  /// Writes what the reader takes within `patience` seconds and drops the rest.
  /// - Returns: nil, or the `errno` of the write that failed, `EAGAIN` when time was up.
  static func offer(_ bytes: [UInt8], to descriptor: Int32, patience: Double) -> Int32? {
    // Polling alone is not enough: a terminal with room for one byte counts as ready.
    let flags = fcntl(descriptor, F_GETFL)
    guard flags >= 0, fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0 else { return errno }
    defer { _ = fcntl(descriptor, F_SETFL, flags) }
    let end = Clock.monotonicSeconds() + patience
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { systemWrite(descriptor, $0.baseAddress, $0.count) }
      if count > 0 {
        rest = rest.dropFirst(count)
        continue
      }
      let code = count == 0 ? ENOSPC : errno
      guard code == EAGAIN || code == EINTR else { return code }
      let left = end - Clock.monotonicSeconds()
      guard left > 0 else { return EAGAIN }
      var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      _ = poll(&ready, 1, Int32((left * 1000).rounded(.up)))
    }
    return nil
  }

  /// - Returns: nil, or the `errno` of the write that failed.
  static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
    bytes.withUnsafeBytes { buffer in
      var done = 0
      while done < buffer.count {
        let rest = UnsafeRawBufferPointer(rebasing: buffer[done...])
        let count = systemWrite(descriptor, rest.baseAddress, rest.count)
        if count < 0 {
          if errno == EINTR { continue }
          return errno
        }
        // A write that takes nothing from a full device must not be retried for ever.
        if count == 0 { return ENOSPC }
        done += count
      }
      return nil
    }
  }
}

/// `write` is also the name of a method above.
private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
  write(descriptor, bytes, count)
}
