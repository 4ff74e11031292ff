import Support

/// Reads the compact protocol of Thrift from bytes of a file nobody vouches for: every length is
/// compared with what is left before it is used.
final class ThriftReader {
  /// The kinds of values, with the numbers of the protocol.
  enum Kind: UInt8 {
    case yes = 1
    case no, byte, int16, int32, int64, double, binary, list, set, map, structure
  }

  private static let depthLimit = 32
  private let bytes: [UInt8]
  private let path: String
  private(set) var at = 0
  private var depth = 0

  init(_ bytes: [UInt8], path: String) { (self.bytes, self.path) = (bytes, path) }

  func bad(_ what: String) -> Fault { ParquetFault.damaged(path, what) }

  /// - Parameter field: takes the value of a field it knows and returns true; others are passed over.
  func structure(_ field: (Int, Kind) throws(Fault) -> Bool) throws(Fault) {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else { throw bad("its description is nested too deep") }
    var number = 0
    while true {
      let head = try byte()
      if head == 0 { return }
      guard let kind = Kind(rawValue: head & 15) else { throw bad("its description is damaged") }
      number = head >> 4 == 0 ? try integer() : number + Int(head >> 4)
      if try !field(number, kind) { try skip(kind) }
    }
  }

  /// Calls `element` for each element of a list.
  func list(_ element: (Kind) throws(Fault) -> Void) throws(Fault) {
    let (kind, count) = try listHead()
    for _ in 0..<count { try element(kind) }
  }

  private func listHead() throws(Fault) -> (Kind, Int) {
    let head = try byte()
    var count = Int(head >> 4)
    if count == 15 { count = try unsigned() }
    guard let kind = Kind(rawValue: head & 15) else { throw bad("its description is damaged") }
    // Every element has at least one byte.
    guard count <= bytes.count - at else { throw bad("a list is longer than the file") }
    return (kind, count)
  }

  func byte() throws(Fault) -> UInt8 {
    guard at < bytes.count else { throw ParquetFault.cut(path) }
    at += 1
    return bytes[at - 1]
  }

  func unsigned() throws(Fault) -> Int {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = try byte()
      guard shift < 63 || (shift == 63 && byte <= 1) else { throw bad("a number is too long") }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { break }
      shift += 7
    }
    guard let small = Int(exactly: value) else { throw bad("a number is too large") }
    return small
  }

  /// A signed number, however wide it was written.
  func integer() throws(Fault) -> Int {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = try byte()
      guard shift <= 63 else { throw bad("a number is too long") }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { break }
      shift += 7
    }
    return Int(truncatingIfNeeded: Int64(bitPattern: value >> 1) ^ -Int64(value & 1))
  }

  func binary() throws(Fault) -> [UInt8] {
    let count = try unsigned()
    guard count <= bytes.count - at else { throw ParquetFault.cut(path) }
    defer { at += count }
    return Array(bytes[at..<at + count])
  }

  func text() throws(Fault) -> String { String(decoding: try binary(), as: UTF8.self) }

  /// A boolean is the kind of its field.
  func boolean(_ kind: Kind) -> Bool { kind == .yes }

  func skip(_ kind: Kind) throws(Fault) {
    switch kind {
    case .yes, .no: return
    case .byte: _ = try byte()
    case .int16, .int32, .int64: _ = try integer()
    case .double: for _ in 0..<8 { _ = try byte() }
    case .binary:
      let count = try unsigned()
      guard count <= bytes.count - at else { throw ParquetFault.cut(path) }
      at += count
    case .list, .set:
      try nested { () throws(Fault) in
        let (kind, count) = try self.listHead()
        for _ in 0..<count { try self.skipElement(kind) }
      }
    case .map: try nested { () throws(Fault) in try self.skipMap() }
    case .structure: try structure { (_, _) throws(Fault) in false }
    }
  }

  private func nested(_ body: () throws(Fault) -> Void) throws(Fault) {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else { throw bad("its description is nested too deep") }
    try body()
  }

  /// Booleans in lists have a byte of their own.
  private func skipElement(_ kind: Kind) throws(Fault) {
    if kind == .yes || kind == .no { _ = try byte() } else { try skip(kind) }
  }

  private func skipMap() throws(Fault) {
    let count = try unsigned()
    guard count > 0 else { return }
    let kinds = try byte()
    guard let key = Kind(rawValue: kinds >> 4), let value = Kind(rawValue: kinds & 15),
      count <= bytes.count - at
    else { throw bad("its description is damaged") }
    for _ in 0..<count {
      try skipElement(key)
      try skipElement(value)
    }
  }
}

/// Faults of parquet files.
enum ParquetFault {
  static func damaged(_ path: String, _ what: String) -> Fault {
    Fault(
      .badDataFile, "not a whole parquet file: \(what)", at: .file(path),
      fix: "download or copy the file again")
  }

  static func cut(_ path: String) -> Fault { damaged(path, "it ends too early") }

  static func unsupported(_ path: String, _ what: String) -> Fault {
    Fault(
      .badDataFile, "the parquet file uses \(what), which is not read", at: .file(path),
      fix: "write it again with zstd or snappy and the usual encodings, or as .jsonl")
  }
}
