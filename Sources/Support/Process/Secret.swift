#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A text that must not be seen: it prints as `***` wherever it is described, and a process that holds
/// one leaves no core file.
public struct Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
  CustomReflectable
{
  private let text: String

  /// - Returns: nil for a text that cannot be one: empty, or with blanks or control characters
  ///   inside. Blanks around it are cut.
  public init?(_ text: String) {
    let bytes = Array(text.utf8)
    func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
    let start = bytes.firstIndex { !isBlank($0) } ?? bytes.endIndex
    let end = bytes.lastIndex { !isBlank($0) }.map { $0 + 1 } ?? start
    guard start < end, bytes[start..<end].allSatisfy({ (0x21...0x7E).contains($0) }) else {
      return nil
    }
    let trimmed = String(decoding: bytes[start..<end], as: UTF8.self)
    self.text = trimmed
    var none = rlimit(rlim_cur: 0, rlim_max: 0)
    #if canImport(Glibc)
      setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none)
    #else
      setrlimit(RLIMIT_CORE, &none)
    #endif
  }

  /// Reads the file that holds it and nothing else.
  /// - Throws: `FILE-001`, `FILE-002`; `FILE-005` for a file that others may read, or an empty one.
  public init(file path: String) throws(Fault) {
    var info = stat()
    guard stat(path, &info) == 0 else { throw PosixFile.openFault(path, errno) }
    guard info.st_mode & 0o077 == 0 else {
      throw Fault(
        .openSecret, "other users may read the file of a secret", at: .file(path),
        expected: "mode 0600", found: "mode 0" + String(info.st_mode & 0o777, radix: 8),
        fix: "chmod 600 \(path)")
    }
    let bytes = try AtomicFile.read(path, limit: 1 << 16)
    guard let secret = Secret(String(decoding: bytes, as: UTF8.self)) else {
      throw Fault(.openSecret, "the file of a secret is empty", at: .file(path))
    }
    self = secret
  }

  /// The text itself, for the one place that needs it.
  public func reveal() -> String { text }

  public var description: String { "***" }
  public var debugDescription: String { "***" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}

extension FaultCode {
  public static let openSecret = FaultCode(
    "FILE-005", .usage, "the file of a secret is empty, or open to other users")
}
