import Support

/// Little-endian fields at fixed places of a record.
struct RecordReader {
  let bytes: [UInt8]
  func u16(_ at: Int) -> Int { Int(bytes[at]) | Int(bytes[at + 1]) << 8 }
  func u32(_ at: Int) -> Int { u16(at) | u16(at + 2) << 16 }
  /// Nil for a value beyond 63 bits.
  func u64(_ at: Int) -> Int? { u32(at + 4) < 1 << 31 ? u32(at) | u32(at + 4) << 32 : nil }
}

/// Little-endian fields, one after another.
struct RecordWriter {
  var bytes: [UInt8] = []
  mutating func u16(_ value: Int) { put(value, 2) }
  mutating func u32(_ value: Int) { put(value, 4) }
  mutating func u64(_ value: Int) { put(value, 8) }
  private mutating func put(_ value: Int, _ width: Int) {
    for i in 0..<width { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * i))) }
  }
}
