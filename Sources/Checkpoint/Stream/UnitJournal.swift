import Support

/// Which units of a file are durable: a line for the purpose, then a line for each batch of units.
///
/// A line counts only when its checksum fits, so that one cut off by a crash is as if never written.
struct UnitJournal {
  static let suffix = ".progress"
  let path: String
  let purpose: String

  private static func line(_ value: JSONValue) -> String {
    let text = value.write()
    return String(CRC32C(Array(text.utf8)).value, radix: 16) + " " + text
  }

  private static func value(_ line: Substring) -> JSONValue? {
    guard let space = line.firstIndex(of: " ") else { return nil }
    let text = String(line[line.index(after: space)...])
    guard String(CRC32C(Array(text.utf8)).value, radix: 16) == line[..<space] else { return nil }
    return try? JSONValue.parse(text)
  }

  /// The units of an earlier write for the same purpose; none when there was no such.
  /// - Throws: `FILE-002`.
  func read() throws(Fault) -> [WrittenUnit] {
    guard Folder.kind(path) == .file else { return [] }
    let text = String(decoding: try AtomicFile.read(path), as: UTF8.self)
    let lines = text.split(separator: "\n")
    guard let first = lines.first, Self.value(first)?.string == purpose else { return [] }
    var units: [WrittenUnit] = []
    for line in lines.dropFirst() {
      guard let batch = Self.value(line)?.array else { return units }
      for entry in batch {
        guard let fields = entry.array, fields.count == 2, let length = fields[0].int, length >= 0,
          let crc = fields[1].int.flatMap({ UInt32(exactly: $0) })
        else { return units }
        units.append(WrittenUnit(length: length, crc32c: crc))
      }
    }
    return units
  }

  /// Begins anew, or again with the units that are known; drops a line that was cut off.
  /// - Throws: `FILE-003`.
  func begin(_ units: [WrittenUnit] = []) throws(Fault) {
    var text = Self.line(.string(purpose)) + "\n"
    if !units.isEmpty { text += Self.line(Self.batch(units[...])) + "\n" }
    try AtomicFile.write(text, to: path)
  }

  private static func batch(_ units: ArraySlice<WrittenUnit>) -> JSONValue {
    .array(units.map { .array([JSONValue($0.length), JSONValue(Int($0.crc32c))]) })
  }

  /// - Parameter units: that are on the device.
  func append(_ units: ArraySlice<WrittenUnit>) throws(Fault) {
    let file = try AppendFile(path: path)
    try file.append(line: Self.line(Self.batch(units)))
    try file.synchronize()
    try file.close()
  }
}
