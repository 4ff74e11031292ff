import CZlib

/// CRC-32 of zip archives (IEEE polynomial), by zlib.
enum CRC32 {
  static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 { update(0, bytes) }

  static func update(_ crc: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
    guard let base = bytes.bindMemory(to: UInt8.self).baseAddress else { return crc }
    return UInt32(truncatingIfNeeded: crc32_z(UInt(crc), base, bytes.count))
  }
}
