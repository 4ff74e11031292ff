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
  public init(_ bytes: UnsafeRawBufferPointer) { update(bytes) }
  public init(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

  /// Adds bytes at the end. Eight tables, eight bytes a turn ("slicing by 8").
  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    count += bytes.count
    guard let base = bytes.baseAddress else { return }
    value = Self.tables.withUnsafeBufferPointer { table in
      var crc = ~value
      var at = 0
      while at + 8 <= bytes.count {
        let low = UInt32(littleEndian: (base + at).loadUnaligned(as: UInt32.self)) ^ crc
        let high = UInt32(littleEndian: (base + at + 4).loadUnaligned(as: UInt32.self))
        crc =
          table[0x700 + Int(low & 0xFF)] ^ table[0x600 + Int(low >> 8 & 0xFF)]
          ^ table[0x500 + Int(low >> 16 & 0xFF)] ^ table[0x400 + Int(low >> 24)]
          ^ table[0x300 + Int(high & 0xFF)] ^ table[0x200 + Int(high >> 8 & 0xFF)]
          ^ table[0x100 + Int(high >> 16 & 0xFF)] ^ table[Int(high >> 24)]
        at += 8
      }
      while at < bytes.count {
        crc = crc >> 8 ^ table[Int((crc ^ UInt32(bytes[at])) & 0xFF)]
        at += 1
      }
      return ~crc
    }
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

  private static let tables: [UInt32] = {
    var table = [UInt32](repeating: 0, count: 8 * 256)
    for i in 0..<256 {
      var crc = UInt32(i)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ polynomial : crc >> 1 }
      table[i] = crc
    }
    for i in 256..<table.count {
      table[i] = table[i - 256] >> 8 ^ table[Int(table[i - 256] & 0xFF)]
    }
    return table
  }()

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
