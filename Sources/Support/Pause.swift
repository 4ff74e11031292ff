#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Waiting.
public enum Pause {
  /// Lets the thread sleep.
  public static func seconds(_ seconds: Double) {
    usleep(UInt32(min(max(seconds, 0), 1000) * 1_000_000))
  }
}
