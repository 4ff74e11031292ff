import Support

/// The checksum of event files: CRC-32C, rotated and shifted so that a file of checksums does not
/// check itself.
enum MaskedCRC {
  static func of(_ bytes: [UInt8]) -> UInt32 {
    let crc = CRC32C(bytes).value
    return (crc >> 15 | crc << 17) &+ 0xA282_EAD8
  }
}
