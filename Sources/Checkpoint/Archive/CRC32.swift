import CISAL
import CZlib

/// CRC-32 of zip archives (IEEE polynomial): by carry-less products (ISA-L), parts joined by zlib.
enum CRC32 {
  static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 { update(0, bytes) }

  static func update(_ crc: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
    guard let base = bytes.bindMemory(to: UInt8.self).baseAddress else { return crc }
    return crc32_gzip_refl(crc, base, UInt64(bytes.count))
  }

  /// The checksum of two parts one after the other, from their own.
  static func joined(_ first: UInt32, _ second: UInt32, secondCount: Int) -> UInt32 {
    UInt32(truncatingIfNeeded: crc32_combine(UInt(first), UInt(second), secondCount))
  }
}
