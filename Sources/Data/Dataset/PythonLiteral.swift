import Support

/// Reads a list, dictionary, tuple, text, number, `True`, `False` or `None` as Python writes it;
/// message lists that went through a data frame look like that.
struct PythonLiteral {
  private let bytes: [UInt8]
  private var at = 0

  private init(_ text: String) { bytes = Array(text.utf8) }

  /// The value, or nil when the text is no literal.
  static func parse(_ text: String) -> JSONValue? {
    // A JSON list is nearly always a literal too, and has `true` and `null` beside.
    if let value = try? JSONValue.parse(text) { return value }
    var reader = PythonLiteral(text)
    guard let value = reader.value(depth: 0) else { return nil }
    reader.skipSpace()
    return reader.at == reader.bytes.count ? value : nil
  }

  private var peek: UInt8? { at < bytes.count ? bytes[at] : nil }

  private mutating func skipSpace() {
    while let byte = peek, LineReader.isSpace(byte) { at += 1 }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard peek == byte else { return false }
    at += 1
    return true
  }

  private mutating func value(depth: Int) -> JSONValue? {
    guard depth < 64 else { return nil }
    skipSpace()
    switch peek {
    case UInt8(ascii: "["): return list(until: UInt8(ascii: "]"), depth: depth)
    case UInt8(ascii: "("): return list(until: UInt8(ascii: ")"), depth: depth)
    case UInt8(ascii: "{"): return dictionary(depth: depth)
    case UInt8(ascii: "'"), UInt8(ascii: "\""): return text().map { .string($0) }
    default: return wordOrNumber()
    }
  }

  private mutating func list(until end: UInt8, depth: Int) -> JSONValue? {
    at += 1
    var items: [JSONValue] = []
    while true {
      skipSpace()
      if take(end) { return .array(items) }
      guard let item = value(depth: depth + 1) else { return nil }
      items.append(item)
      skipSpace()
      guard take(UInt8(ascii: ",")) || peek == end else { return nil }
    }
  }

  private mutating func dictionary(depth: Int) -> JSONValue? {
    at += 1
    var object = JSONObject()
    while true {
      skipSpace()
      if take(UInt8(ascii: "}")) { return .object(object) }
      guard let key = text() else { return nil }
      skipSpace()
      guard take(UInt8(ascii: ":")), let item = value(depth: depth + 1) else { return nil }
      object[key] = item
      skipSpace()
      guard take(UInt8(ascii: ",")) || peek == UInt8(ascii: "}") else { return nil }
    }
  }

  private mutating func text() -> String? {
    guard let quote = peek, quote == UInt8(ascii: "'") || quote == UInt8(ascii: "\"") else {
      return nil
    }
    at += 1
    var out: [UInt8] = []
    while let byte = peek {
      at += 1
      if byte == quote { return String(validating: out, as: UTF8.self) }
      if byte != UInt8(ascii: "\\") {
        out.append(byte)
      } else if let escaped = escape() {
        out += Array(String(escaped).utf8)
      } else {
        return nil
      }
    }
    return nil
  }

  private mutating func escape() -> Unicode.Scalar? {
    guard let byte = peek else { return nil }
    at += 1
    switch byte {
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "x"): return hexadecimal(2)
    case UInt8(ascii: "u"): return hexadecimal(4)
    case UInt8(ascii: "U"): return hexadecimal(8)
    case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""): return Unicode.Scalar(byte)
    default: return nil
    }
  }

  private mutating func hexadecimal(_ digits: Int) -> Unicode.Scalar? {
    guard at + digits <= bytes.count else { return nil }
    let word = String(decoding: bytes[at..<(at + digits)], as: UTF8.self)
    at += digits
    return UInt32(word, radix: 16).flatMap { Unicode.Scalar($0) }
  }

  private mutating func wordOrNumber() -> JSONValue? {
    let start = at
    while let byte = peek, !LineReader.isSpace(byte), !",:]})".utf8.contains(byte) { at += 1 }
    let word = String(decoding: bytes[start..<at], as: UTF8.self)
    switch word {
    case "True": return .bool(true)
    case "False": return .bool(false)
    case "None": return .null
    default: return Double(word) == nil ? nil : .number(word)
    }
  }
}
