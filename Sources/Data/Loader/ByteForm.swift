import Support

/// Writes numbers, lists and texts one after the other, in the order of this machine's bytes: for
/// ranks of one job, not for files.
struct ByteWriter {
  private(set) var bytes: [UInt8] = []

  mutating func add(_ number: Int) {
    withUnsafeBytes(of: Int64(number)) { bytes.append(contentsOf: $0) }
  }

  mutating func add<T: BitwiseCopyable>(_ list: [T]) {
    add(list.count)
    list.withUnsafeBytes { bytes.append(contentsOf: $0) }
  }

  mutating func add(_ text: String) { add(Array(text.utf8)) }

  /// A list that may be missing.
  mutating func add<T: BitwiseCopyable>(optional list: [T]?) {
    add(list == nil ? 0 : 1)
    if let list { add(list) }
  }

  mutating func add(optional text: String?) { add(optional: text.map { Array($0.utf8) }) }
}

/// Reads what `ByteWriter` wrote.
struct ByteReader {
  private let bytes: [UInt8]
  private var at = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// - Throws: `INT-001` past the end.
  private mutating func take(_ count: Int) throws(Fault) -> Range<Int> {
    guard count >= 0, count <= bytes.count - at else {
      throw Fault(.internalError, "data of another rank end after \(bytes.count) bytes")
    }
    defer { at += count }
    return at..<at + count
  }

  mutating func number() throws(Fault) -> Int {
    let place = try take(8)
    return bytes.withUnsafeBytes {
      Int($0.loadUnaligned(fromByteOffset: place.lowerBound, as: Int64.self))
    }
  }

  mutating func list<T: BitwiseCopyable>(of _: T.Type) throws(Fault) -> [T] {
    let count = try number()
    let place = try take(count * MemoryLayout<T>.stride)
    return [T](unsafeUninitializedCapacity: count) { buffer, used in
      bytes.withUnsafeBytes { raw in
        UnsafeMutableRawBufferPointer(buffer).copyMemory(
          from: UnsafeRawBufferPointer(rebasing: raw[place]))
      }
      used = count
    }
  }

  mutating func text() throws(Fault) -> String {
    String(decoding: try list(of: UInt8.self), as: UTF8.self)
  }

  mutating func optionalList<T: BitwiseCopyable>(of type: T.Type) throws(Fault) -> [T]? {
    try number() == 0 ? nil : try list(of: type)
  }

  mutating func optionalText() throws(Fault) -> String? {
    try optionalList(of: UInt8.self).map { String(decoding: $0, as: UTF8.self) }
  }
}
