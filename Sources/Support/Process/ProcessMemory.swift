import Glibc

/// Memory of this process.
public enum ProcessMemory {
  /// Largest resident set so far, bytes.
  public static var peakBytes: Int {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss * 1024
  }
  public static var peakGiB: Double { Double(peakBytes) / Double(1 << 30) }
}
