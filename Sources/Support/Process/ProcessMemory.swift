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

extension ProcessMemory {
  /// Processor time of all threads so far, user and system, seconds.
  public static var cpuSeconds: Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    func seconds(_ t: timeval) -> Double { Double(t.tv_sec) + 1e-6 * Double(t.tv_usec) }
    return seconds(usage.ru_utime) + seconds(usage.ru_stime)
  }
}
