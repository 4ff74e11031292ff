import Foundation
import Support

/// Encoded rows on disk, found again by a digest of everything they were made from.
///
/// Layout of an entry: 8 bytes of magic, 32 bytes of key, a count, the outcomes, 32 bytes of SHA-256
/// over all before. Numbers are little-endian. An entry that is damaged or belongs to another key
/// counts as missing.
struct EncodedCache {
  private static let magic = Array("MSFTROW1".utf8)
  let folder: String

  /// The key: any change of a row, a setting or the fingerprint gives another one.
  static func key(rows: [StandardRow], encoder: RowEncoder) -> [UInt8] {
    var hash = SHA256()
    hash.update(magic)
    hash.update(text: encoder.options.fingerprint)
    hash.update(text: "\(encoder.options.limit ?? -1) \(encoder.options.truncation.rawValue)")
    hash.update(text: encoder.options.protectedTokens.sorted().description)
    let structure = encoder.structure
    hash.update(
      text: "\(structure.acceptsMedia) \(structure.requiresAnswer) \(encoder.strict)")
    for row in rows { hash.update(row) }
    return hash.digest()
  }

  private func path(_ key: [UInt8]) -> String {
    folder + "/rows-" + key.prefix(16).map { String(format: "%02x", $0) }.joined() + ".bin"
  }

  /// The outcomes stored under a key, nil when there are none or they are damaged.
  func load(_ key: [UInt8]) -> [RowOutcome]? {
    guard let data = FileManager.default.contents(atPath: path(key)) else { return nil }
    let bytes = [UInt8](data)
    let head = Self.magic + key
    guard bytes.count >= head.count + 40, Array(bytes.prefix(head.count)) == head else {
      return nil
    }
    var hash = SHA256()
    bytes.withUnsafeBytes { hash.update(UnsafeRawBufferPointer(rebasing: $0.dropLast(32))) }
    guard hash.digest() == Array(bytes.suffix(32)) else { return nil }
    var reader = ByteReader(bytes: bytes, at: head.count, end: bytes.count - 32)
    return reader.outcomes()
  }

  /// Stores outcomes under a key; the file appears whole or not at all.
  /// - Throws: `FILE-003` when the folder cannot be written.
  func store(_ outcomes: [RowOutcome], key: [UInt8]) throws(Fault) {
    var bytes = Self.magic + key + littleEndian(UInt64(outcomes.count))
    for outcome in outcomes { outcome.append(to: &bytes) }
    var hash = SHA256()
    hash.update(bytes)
    bytes += hash.digest()
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      try Data(bytes).write(to: URL(fileURLWithPath: path(key)), options: .atomic)
    } catch {
      throw Fault(
        .cannotWrite, "the cache of encoded rows cannot be written", at: .file(path(key)),
        fix: "set --load_from_cache_file false, or make the folder writable", cause: error)
    }
  }
}

extension RowOutcome {
  fileprivate func append(to bytes: inout [UInt8]) {
    switch self {
    case .kept(let row, let wasCut, let warnings):
      bytes.append(wasCut ? 1 : 0)
      bytes += littleEndian(UInt32(row.inputIDs.count))
      Self.append(row.inputIDs, to: &bytes)
      Self.append(row.labels, to: &bytes)
      bytes.append(row.lossScale == nil ? 0 : 1)
      Self.append((row.lossScale ?? []).map(\.bitPattern), to: &bytes)
      bytes.append(row.channel == nil ? 0 : 1)
      Self.append(row.channel ?? "", to: &bytes)
      bytes.append(UInt8(min(warnings.count, 255)))
      for text in warnings.prefix(255) { Self.append(text, to: &bytes) }
    case .tooLong(let reason):
      bytes.append(2)
      Self.append(reason, to: &bytes)
    case .bad(let reason):
      bytes.append(3)
      Self.append(reason, to: &bytes)
    }
  }

  private static func append<T: FixedWidthInteger>(_ list: [T], to bytes: inout [UInt8]) {
    list.map(\.littleEndian).withUnsafeBytes { bytes.append(contentsOf: $0) }
  }

  private static func append(_ text: String, to bytes: inout [UInt8]) {
    bytes += littleEndian(UInt32(text.utf8.count))
    bytes += Array(text.utf8)
  }
}

/// Reads numbers and texts from bytes; nil past the end.
private struct ByteReader {
  let bytes: [UInt8]
  var at: Int
  let end: Int

  mutating func number<T: FixedWidthInteger>(_: T.Type) -> T? {
    let size = MemoryLayout<T>.size
    guard end - at >= size else { return nil }
    defer { at += size }
    return bytes.withUnsafeBytes {
      T(littleEndian: $0.loadUnaligned(fromByteOffset: at, as: T.self))
    }
  }

  mutating func numbers<T: FixedWidthInteger>(_: T.Type, _ count: Int) -> [T]? {
    let size = MemoryLayout<T>.size
    guard (end - at) / size >= count else { return nil }
    defer { at += count * size }
    return bytes.withUnsafeBytes { raw in
      (0..<count).map {
        T(littleEndian: raw.loadUnaligned(fromByteOffset: at + $0 * size, as: T.self))
      }
    }
  }

  mutating func text() -> String? {
    guard let size = number(UInt32.self), end - at >= Int(size) else { return nil }
    defer { at += Int(size) }
    return String(validating: bytes[at..<(at + Int(size))], as: UTF8.self)
  }

  mutating func outcomes() -> [RowOutcome]? {
    guard let count = number(UInt64.self), count <= UInt64(end) else { return nil }
    var list: [RowOutcome] = []
    for _ in 0..<count {
      guard let outcome = outcome() else { return nil }
      list.append(outcome)
    }
    return at == end ? list : nil
  }

  private mutating func outcome() -> RowOutcome? {
    guard let tag = number(UInt8.self) else { return nil }
    switch tag {
    case 0, 1:
      guard let row = row(), let size = number(UInt8.self) else { return nil }
      let warnings = (0..<size).compactMap { _ in text() }
      return warnings.count == size ? .kept(row, wasCut: tag == 1, warnings: warnings) : nil
    case 2: return text().map { .tooLong(reason: $0) }
    case 3: return text().map { .bad(reason: $0) }
    default: return nil
    }
  }

  private mutating func row() -> EncodedRow? {
    guard let size = number(UInt32.self), let ids = numbers(Int32.self, Int(size)),
      let labels = numbers(Int32.self, Int(size)), let weighted = number(UInt8.self)
    else { return nil }
    var row = EncodedRow(inputIDs: ids, labels: labels)
    if weighted == 1 {
      guard let weights = numbers(UInt32.self, Int(size)) else { return nil }
      row.lossScale = weights.map { Float(bitPattern: $0) }
    }
    guard let named = number(UInt8.self), let name = text() else { return nil }
    row.channel = named == 1 ? name : nil
    return row
  }
}

extension SHA256 {
  /// Adds everything that the tokens of a row depend on.
  fileprivate mutating func update(_ row: StandardRow) {
    update(littleEndian(UInt64(row.messages.count)))
    for message in row.messages {
      update(text: message.role)
      update(text: message.content)
      update(text: message.loss.map { "\($0)" } ?? "")
    }
    var rest = row
    rest.messages = []
    update(text: rest.json.write())
  }
}
