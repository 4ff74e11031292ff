import CCrypto

/// A cryptographic digest of bytes that are added one part after the other (libcrypto).
///
///     let digest = Digest(.sha256)
///     digest.update(bytes)
///     digest.hexadecimal()
public final class Digest {
  public enum Kind: Sendable {
    /// FIPS 180-4: contents of large files in a hub, entries of a cache.
    case sha256
    /// Names of objects in git; no protection against somebody who wants them to collide.
    case sha1
  }

  private let context: OpaquePointer

  public init(_ kind: Kind) {
    guard let context = EVP_MD_CTX_new(),
      EVP_DigestInit_ex(context, kind == .sha256 ? EVP_sha256() : EVP_sha1(), nil) == 1
    else { preconditionFailure("libcrypto has no such digest") }
    self.context = context
  }

  deinit { EVP_MD_CTX_free(context) }

  /// Adds bytes.
  public func update(_ bytes: UnsafeRawBufferPointer) {
    EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
  }

  /// Adds bytes.
  public func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

  /// Adds a text with its length, so that neighbouring texts cannot run together.
  public func update(text: String) {
    var text = text
    withUnsafeBytes(of: UInt64(text.utf8.count).littleEndian) { update($0) }
    text.withUTF8 { update(UnsafeRawBufferPointer($0)) }
  }

  /// The digest of everything added; more may be added after it.
  public func finish() -> [UInt8] {
    guard let copy = EVP_MD_CTX_new() else { preconditionFailure("no memory for a digest") }
    defer { EVP_MD_CTX_free(copy) }
    var bytes = [UInt8](repeating: 0, count: 64)
    var count: UInt32 = 0
    EVP_MD_CTX_copy_ex(copy, context)
    EVP_DigestFinal_ex(copy, &bytes, &count)
    return Array(bytes.prefix(Int(count)))
  }

  /// The digest of everything added, in lower hexadecimal digits.
  public func hexadecimal() -> String {
    let digits = Array("0123456789abcdef")
    return String(finish().flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }

  /// Adds bytes of a file, in parts of bounded size.
  /// - Throws: `FILE-001`, `FILE-002`.
  public func update(file: PosixFile, from start: Int = 0, count: Int) throws(Fault) {
    var part = [UInt8](repeating: 0, count: min(1 << 20, max(count, 1)))
    var done = 0
    while done < count {
      let size = min(part.count, count - done)
      try part.withMutableRaw { (raw) throws(Fault) in
        let piece = UnsafeMutableRawBufferPointer(rebasing: raw[..<size])
        try file.read(into: piece, at: start + done)
        update(UnsafeRawBufferPointer(piece))
      }
      done += size
    }
  }

  /// The digest of a whole file, in hexadecimal digits.
  /// - Throws: `FILE-001`, `FILE-002`.
  public static func of(file path: String, _ kind: Kind = .sha256) throws(Fault) -> String {
    let file = try PosixFile(reading: path)
    let digest = Digest(kind)
    try digest.update(file: file, count: try file.size())
    return digest.hexadecimal()
  }
}
