import Support

/// The RLE and bit-packed hybrid of parquet: levels and places in a dictionary. Values are made one at
/// a time, so that a run of any length costs nothing.
struct HybridRuns {
  private let bytes: [UInt8]
  private let end: Int
  private let width: Int
  private let path: String
  private var at: Int
  private var left = 0
  private var repeated: UInt32?
  /// Bits of a packed run that were used.
  private var bit = 0

  /// - Parameter width: bits of a value, at most 32.
  /// - Throws: `DATA-101`.
  init(_ bytes: [UInt8], _ range: Range<Int>, width: Int, path: String) throws(Fault) {
    guard (0...32).contains(width) else {
      throw ParquetFault.damaged(path, "values of \(width) bits")
    }
    (self.bytes, self.width, self.path) = (bytes, width, path)
    (at, end) = (range.lowerBound, range.upperBound)
  }

  mutating func next() throws(Fault) -> Int {
    while left == 0 { try begin() }
    left -= 1
    if let repeated { return Int(repeated) }
    var value: UInt64 = 0
    let first = at + bit >> 3
    let shift = UInt64(bit & 7)
    let count = (Int(shift) + width + 7) / 8
    guard first + count <= end else { throw ParquetFault.cut(path) }
    for i in 0..<count { value |= UInt64(bytes[first + i]) << UInt64(8 * i) }
    bit += width
    if left == 0 { at += (bit + 7) / 8 }
    return Int(value >> shift & (1 << UInt64(width) - 1))
  }

  private mutating func begin() throws(Fault) {
    var head: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      guard at < end, shift < 35 else { throw ParquetFault.cut(path) }
      let byte = bytes[at]
      at += 1
      head |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { break }
      shift += 7
    }
    left = Int(head >> 1)
    guard left > 0 else { throw ParquetFault.damaged(path, "a run has no values") }
    guard head & 1 == 0 else {
      left *= 8
      (repeated, bit) = (nil, 0)
      return
    }
    let size = (width + 7) / 8
    guard at + size <= end else { throw ParquetFault.cut(path) }
    var value: UInt32 = 0
    for i in 0..<size { value |= UInt32(bytes[at + i]) << UInt32(8 * i) }
    at += size
    repeated = value
  }
}
