import Support

/// DELTA_BINARY_PACKED: blocks of differences, each packed with the bits it needs.
struct DeltaIntegers {
  static let valueLimit = 1 << 22

  private(set) var values: [Int64] = []
  /// Where the encoding ends.
  private(set) var end = 0

  private let bytes: [UInt8]
  private let path: String
  private let limit: Int

  /// - Parameter most: values of the page.
  /// - Throws: `DATA-101`.
  init(_ bytes: [UInt8], _ range: Range<Int>, most: Int, path: String) throws(Fault) {
    (self.bytes, self.path, limit) = (bytes, path, range.upperBound)
    end = range.lowerBound
    let block = try unsigned()
    let parts = try unsigned()
    let count = try unsigned()
    guard (1...(1 << 16)).contains(block), (1...block).contains(parts), block % parts == 0,
      block / parts % 8 == 0, count <= most, count <= Self.valueLimit
    else { throw ParquetFault.damaged(path, "a list of differences is damaged") }
    values.reserveCapacity(count)
    var last = try signed()
    if count > 0 { values.append(last) }
    while values.count < count {
      try readBlock(parts: parts, size: block / parts, count: count, last: &last)
    }
  }

  private mutating func readBlock(
    parts: Int, size: Int, count: Int, last: inout Int64
  ) throws(Fault) {
    let least = try signed()
    guard end + parts <= limit else { throw ParquetFault.cut(path) }
    let widths = bytes[end..<end + parts]
    end += parts
    for width in widths where values.count < count {
      guard width <= 64, end + size * Int(width) / 8 <= limit else { throw ParquetFault.cut(path) }
      for i in 0..<size where values.count < count {
        last = last &+ least &+ Int64(bitPattern: packed(at: i * Int(width), width: Int(width)))
        values.append(last)
      }
      end += size * Int(width) / 8
    }
  }

  private func packed(at bit: Int, width: Int) -> UInt64 {
    guard width > 0 else { return 0 }
    var value: UInt64 = 0
    var done = 0
    while done < width {
      let place = bit + done
      let inByte = place & 7
      let take = min(8 - inByte, width - done)
      let part = UInt64(bytes[end + place >> 3] >> UInt8(inByte)) & ((1 << UInt64(take)) - 1)
      value |= part << UInt64(done)
      done += take
    }
    return value
  }

  private mutating func unsigned() throws(Fault) -> Int {
    let value = try raw()
    guard let small = Int(exactly: value) else {
      throw ParquetFault.damaged(path, "a number is too large")
    }
    return small
  }

  private mutating func signed() throws(Fault) -> Int64 {
    let value = try raw()
    return Int64(bitPattern: value >> 1) ^ -Int64(value & 1)
  }

  private mutating func raw() throws(Fault) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      guard end < limit, shift <= 63 else { throw ParquetFault.cut(path) }
      let byte = bytes[end]
      end += 1
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
  }
}
