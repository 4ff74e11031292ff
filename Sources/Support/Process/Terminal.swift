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
  /// - Returns: false when the stream is closed or full; there is nobody left to tell.
  @discardableResult
  public static func write(_ text: String, to stream: Stream) -> Bool {
    writeAll(Array(text.utf8), to: stream.rawValue) == nil
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
