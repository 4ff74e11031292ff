import CISAL

/// CRC-32C (Castagnoli polynomial, RFC 3720 appendix B.4), the checksum of our manifests.
///
///     var crc = CRC32C()
///     crc.update(bytes)
///     crc.value   // 0xE3069283 for the ASCII text "123456789"
public struct CRC32C: Sendable, Equatable {
  /// The checksum of the bytes so far; 0 for none.
  public private(set) var value: UInt32 = 0
  /// How many bytes it covers.
  public private(set) var count = 0

  public init() {}
  /// A checksum that was computed before.
  public init(value: UInt32, count: Int) { (self.value, self.count) = (value, count) }
  public init(_ bytes: UnsafeRawBufferPointer) { update(bytes) }
  public init(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

  /// Adds bytes at the end, by the checksum instruction of the processor where it has one (ISA-L).
  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    count += bytes.count
    guard let base = bytes.bindMemory(to: UInt8.self).baseAddress else { return }
    var crc = ~value
    var at = 0
    while at < bytes.count {
      let part = min(bytes.count - at, 1 << 30)
      crc = crc32_iscsi(UnsafeMutablePointer(mutating: base + at), Int32(part), crc)
      at += part
    }
    value = ~crc
  }

  /// Adds bytes known only by their own checksum, as if they had been passed to `update`.
  ///
  /// The remainder of `A·x^(8n) + B` is the remainder of A times `x^(8n)` plus that of B.
  public mutating func append(_ other: CRC32C) {
    var result = value
    var bits = other.count
    var power = 3  // x^(8·2^0)
    while bits > 0 {
      if bits & 1 == 1 { result = Self.multiply(Self.powers[power % 31], result) }
      bits >>= 1
      power += 1
    }
    value = result ^ other.value
    count += other.count
  }

  private static let polynomial: UInt32 = 0x82F6_3B78

  /// `x^(2^k)` modulo the polynomial for k in 0..<31, bits reversed; `x^(2^31) = x`.
  private static let powers: [UInt32] = {
    var powers: [UInt32] = [1 << 30]
    for _ in 1..<31 {
      let last = powers[powers.count - 1]
      powers.append(multiply(last, last))
    }
    return powers
  }()

  /// The product of two polynomials modulo ours, bits reversed (bit 31 is the constant).
  private static func multiply(_ a: UInt32, _ b: UInt32) -> UInt32 {
    var b = b
    var product: UInt32 = 0
    var mask: UInt32 = 1 << 31
    while mask != 0 {
      if a & mask != 0 { product ^= b }
      mask >>= 1
      b = b & 1 == 1 ? b >> 1 ^ polynomial : b >> 1
    }
    return product
  }
}
