#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The two clocks of a run: one that never jumps, for durations, and the wall clock, for stamps.
public enum Clock {
  /// Seconds since an arbitrary start; never goes back.
  public static func monotonicSeconds() -> Double { seconds(CLOCK_MONOTONIC) }

  /// Seconds since 1970-01-01 00:00:00 UTC.
  public static func wallSeconds() -> Double { seconds(CLOCK_REALTIME) }

  /// Processor seconds of all threads of this process so far.
  public static func processorSeconds() -> Double { seconds(CLOCK_PROCESS_CPUTIME_ID) }

  private static func seconds(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}

/// A point of the wall clock in the local time zone, with the two spellings a run uses.
public struct LocalTime: Sendable, Equatable {
  public let year: Int
  public let month: Int
  public let day: Int
  public let hour: Int
  public let minute: Int
  public let second: Int

  public init(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
    self.year = year
    self.month = month
    self.day = day
    self.hour = hour
    self.minute = minute
    self.second = second
  }

  /// - Parameter wallSeconds: seconds since 1970 UTC.
  public init(wallSeconds: Double = Clock.wallSeconds()) {
    var time = time_t(wallSeconds)
    var parts = tm()
    localtime_r(&time, &parts)
    self.init(
      year: Int(parts.tm_year) + 1900, month: Int(parts.tm_mon) + 1, day: Int(parts.tm_mday),
      hour: Int(parts.tm_hour), minute: Int(parts.tm_min), second: Int(parts.tm_sec))
  }

  /// `2025-11-24 06:27:14`, the stamp of log lines.
  public var logStamp: String {
    "\(pad(year, 4))-\(pad(month))-\(pad(day)) \(pad(hour)):\(pad(minute)):\(pad(second))"
  }

  /// `20251124-062714`, the stamp in folder names.
  public var folderStamp: String {
    "\(pad(year, 4))\(pad(month))\(pad(day))-\(pad(hour))\(pad(minute))\(pad(second))"
  }

  private func pad(_ value: Int, _ width: Int = 2) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}

/// `1d 2h 3m 4s`: larger units are left out while they are 0; once one shows, all smaller ones do.
///
/// Fractions of a second are cut off; negative and non-finite durations read as `0s`.
public func durationText(seconds: Double) -> String {
  guard seconds.isFinite, seconds > 0, seconds < 1e15 else { return "0s" }
  let total = Int(seconds)
  let parts = [(total / 86400, "d"), (total / 3600 % 24, "h"), (total / 60 % 60, "m")]
  var shown: [String] = []
  for (value, unit) in parts where value > 0 || !shown.isEmpty { shown.append("\(value)\(unit)") }
  shown.append("\(total % 60)s")
  return shown.joined(separator: " ")
}
