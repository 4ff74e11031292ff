/// TensorBoard's `Event` message, as far as scalars need it.
struct EventRecord: Sendable, Equatable {
  /// Seconds since 1970 UTC.
  var wallTime: Double
  var step: Int
  /// Only the first event of a file has one.
  var fileVersion: String?
  var scalars: [(tag: String, value: Float)] = []

  static func == (a: EventRecord, b: EventRecord) -> Bool {
    a.wallTime == b.wallTime && a.step == b.step && a.fileVersion == b.fileVersion
      && a.scalars.elementsEqual(b.scalars) { $0.tag == $1.tag && $0.value == $1.value }
  }

  /// The protobuf bytes: 1 wall_time (double), 2 step (int64), 3 file_version (string),
  /// 5 summary → 1 value (repeated) → 1 tag (string), 2 simple_value (float).
  var bytes: [UInt8] {
    var out: [UInt8] = [1 << 3 | 1]
    out += littleEndian(wallTime.bitPattern)
    if step != 0 { out += [2 << 3 | 0] + varint(UInt64(bitPattern: Int64(step))) }
    if let fileVersion { out += field(3, Array(fileVersion.utf8)) }
    guard !scalars.isEmpty else { return out }
    var summary: [UInt8] = []
    for scalar in scalars {
      let value =
        field(1, Array(scalar.tag.utf8)) + [2 << 3 | 5] + littleEndian(scalar.value.bitPattern)
      summary += field(1, value)
    }
    return out + field(5, summary)
  }

  /// A length-delimited field.
  private func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
    [number << 3 | 2] + varint(UInt64(content.count)) + content
  }

  private func varint(_ value: UInt64) -> [UInt8] {
    var rest = value
    var out: [UInt8] = []
    while rest >= 0x80 {
      out.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    return out + [UInt8(rest)]
  }
}

/// The bytes of an integer, lowest first.
func littleEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
  (0..<(T.bitWidth / 8)).map { UInt8(truncatingIfNeeded: value >> T($0 * 8)) }
}
