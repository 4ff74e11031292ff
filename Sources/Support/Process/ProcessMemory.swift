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

extension ProcessMemory {
  /// Memory that a process could take now without swapping, bytes; nil where the system does not tell.
  public static var availableBytes: Int? {
    guard let file = fopen("/proc/meminfo", "r") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
      let words = String(
        decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self
      )
      .split(separator: " ")
      if words.count >= 2, words[0] == "MemAvailable:" { return Int(words[1]).map { $0 * 1024 } }
    }
    return nil
  }
}
