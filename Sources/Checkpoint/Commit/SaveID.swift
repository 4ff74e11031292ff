#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif
import Support

/// The name of one save: says which process of which machine is at work, so that what a dead one left
/// can be told from the work of a living one.
///
///     k3f9x2a-1f4b-9c0d1e2f        random, process, machine
public enum SaveID {
  public static func make() -> String {
    [
      String(UInt32.random(in: 0...UInt32.max), radix: 36), String(getpid(), radix: 36),
      machine,
    ].joined(separator: "-")
  }

  /// Host and boot: process numbers mean nothing elsewhere or after a restart.
  private static var machine: String {
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, name.count - 1)
    let host = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    let boot = (try? PosixFile(reading: "/proc/sys/kernel/random/boot_id").read(36, at: 0)) ?? []
    return String(CRC32C(host + boot).value, radix: 36)
  }

  /// Seconds for which a folder of another machine is believed to be in use.
  static let patience = 3600

  /// Whether the process that made the id may still be at work.
  /// - Parameter age: seconds since the last change of its folder.
  static func isInUse(_ id: Substring, age: Int) -> Bool {
    let parts = id.split(separator: "-")
    guard parts.count == 3, let process = Int32(parts[1], radix: 36), process > 0 else {
      return false
    }
    guard parts[2] == machine else { return age < patience }
    return (kill(process, 0) == 0 || errno == EPERM) && !isZombie(process)
  }

  /// A process that has ended and that nobody has asked for its exit code yet.
  private static func isZombie(_ process: Int32) -> Bool {
    // `PID (name) STATE …`, always longer than what is read; the name may hold anything.
    guard let text = try? PosixFile(reading: "/proc/\(process)/stat").read(40, at: 0) else {
      return false
    }
    guard let end = text.lastIndex(of: UInt8(ascii: ")")), end + 2 < text.count else {
      return false
    }
    return text[end + 2] == UInt8(ascii: "Z") || text[end + 2] == UInt8(ascii: "X")
  }
}
