/// Where and why a text is not JSON. `line` and `column` count from 1, in bytes.
public struct JSONSyntaxError: Error, Sendable, Equatable, CustomStringConvertible {
  public let line: Int
  public let column: Int
  public let reason: String
  public var description: String { "line \(line), column \(column): \(reason)" }
}

extension JSONValue {
  /// Reads one JSON value; only white space may follow it.
  /// - Parameters:
  ///   - maxDepth: nesting beyond it is refused, so hostile input cannot exhaust the stack.
  ///   - uniqueKeys: an object that names a key twice is refused.
  public static func parse(
    _ bytes: UnsafeRawBufferPointer, maxDepth: Int = 512, uniqueKeys: Bool = false
  ) throws(JSONSyntaxError) -> JSONValue {
    var parser = JSONParser(bytes: bytes, maxDepth: maxDepth, uniqueKeys: uniqueKeys)
    let value = try parser.value(depth: 0)
    parser.skipSpace()
    guard parser.at == bytes.count else { throw parser.error("text after the value") }
    return value
  }

  public static func parse(_ text: String, maxDepth: Int = 512) throws(JSONSyntaxError) -> JSONValue
  {
    let bytes = Array(text.utf8)
    do {
      return try bytes.withUnsafeBytes { try parse($0, maxDepth: maxDepth) }
    } catch let error as JSONSyntaxError {
      throw error
    } catch {
      throw JSONSyntaxError(line: 1, column: 1, reason: "\(error)")
    }
  }
}

/// Recursive descent over bytes (RFC 8259), plus `NaN`, `Infinity`, `-Infinity`, which Python
/// writes and reads.
struct JSONParser {
  let bytes: UnsafeRawBufferPointer
  let maxDepth: Int
  var uniqueKeys = false
  var at = 0

  func error(_ reason: String, at place: Int? = nil) -> JSONSyntaxError {
    var line = 1
    var start = 0
    let end = min(place ?? at, bytes.count)
    for i in 0..<end where bytes[i] == UInt8(ascii: "\n") {
      line += 1
      start = i + 1
    }
    return JSONSyntaxError(line: line, column: end - start + 1, reason: reason)
  }

  var peek: UInt8? { at < bytes.count ? bytes[at] : nil }

  mutating func skipSpace() {
    while at < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[at]) { at += 1 }
  }

  mutating func value(depth: Int) throws(JSONSyntaxError) -> JSONValue {
    guard depth <= maxDepth else { throw error("nested deeper than \(maxDepth)") }
    skipSpace()
    switch peek {
    case nil: throw error("the text ends where a value should be")
    case UInt8(ascii: "{"): return .object(try object(depth: depth))
    case UInt8(ascii: "["): return .array(try array(depth: depth))
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case UInt8(ascii: "N"): return try word("NaN", .number("nan"))
    case UInt8(ascii: "I"): return try word("Infinity", .number("inf"))
    default: return try number()
    }
  }

  private mutating func word(_ text: String, _ value: JSONValue) throws(JSONSyntaxError)
    -> JSONValue
  {
    for byte in text.utf8 {
      guard peek == byte else { throw error("unknown word") }
      at += 1
    }
    return value
  }

  private mutating func object(depth: Int) throws(JSONSyntaxError) -> JSONObject {
    at += 1
    var result = JSONObject()
    skipSpace()
    if peek == UInt8(ascii: "}") {
      at += 1
      return result
    }
    while true {
      skipSpace()
      if peek == UInt8(ascii: "}") { throw error("comma before }") }
      guard peek == UInt8(ascii: "\"") else { throw error("expected a key in quotes") }
      let key = try string()
      if uniqueKeys, result[key] != nil { throw error("the key \"\(key)\" is there twice") }
      skipSpace()
      guard peek == UInt8(ascii: ":") else { throw error("expected : after the key \"\(key)\"") }
      at += 1
      result[key] = try value(depth: depth + 1)
      skipSpace()
      switch peek {
      case UInt8(ascii: ","): at += 1
      case UInt8(ascii: "}"):
        at += 1
        return result
      case nil: throw error("object not closed")
      default: throw error("expected , or } in an object")
      }
    }
  }

  private mutating func array(depth: Int) throws(JSONSyntaxError) -> [JSONValue] {
    at += 1
    var result: [JSONValue] = []
    skipSpace()
    if peek == UInt8(ascii: "]") {
      at += 1
      return result
    }
    while true {
      skipSpace()
      if peek == UInt8(ascii: "]") { throw error("comma before ]") }
      result.append(try value(depth: depth + 1))
      skipSpace()
      switch peek {
      case UInt8(ascii: ","): at += 1
      case UInt8(ascii: "]"):
        at += 1
        return result
      case nil: throw error("list not closed")
      default: throw error("expected , or ] in a list")
      }
    }
  }

  private mutating func number() throws(JSONSyntaxError) -> JSONValue {
    let start = at
    if peek == UInt8(ascii: "-") { at += 1 }
    if peek == UInt8(ascii: "I") { return try word("Infinity", .number("-inf")) }
    func isDigit(_ byte: UInt8?) -> Bool { byte.map { $0 >= 48 && $0 <= 57 } ?? false }
    guard isDigit(peek) else { throw error("expected a value", at: start) }
    if peek == UInt8(ascii: "0") {
      at += 1
      if isDigit(peek) { throw error("a number may not begin with 0", at: start) }
    } else {
      while isDigit(peek) { at += 1 }
    }
    if peek == UInt8(ascii: ".") {
      at += 1
      guard isDigit(peek) else { throw error("a digit must follow the point") }
      while isDigit(peek) { at += 1 }
    }
    if peek == UInt8(ascii: "e") || peek == UInt8(ascii: "E") {
      at += 1
      if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { at += 1 }
      guard isDigit(peek) else { throw error("a digit must follow the exponent") }
      while isDigit(peek) { at += 1 }
    }
    return .number(
      String(decoding: UnsafeRawBufferPointer(rebasing: bytes[start..<at]), as: UTF8.self))
  }

  private mutating func string() throws(JSONSyntaxError) -> String {
    let start = at
    at += 1
    var out: [UInt8] = []
    var run = at
    while true {
      guard let byte = peek else { throw error("string not closed", at: start) }
      switch byte {
      case UInt8(ascii: "\""):
        out.append(contentsOf: bytes[run..<at])
        at += 1
        guard let text = String(validating: out, as: UTF8.self) else {
          throw error("string is not UTF-8", at: start)
        }
        return text
      case UInt8(ascii: "\\"):
        out.append(contentsOf: bytes[run..<at])
        at += 1
        try escape(into: &out)
        run = at
      case 0..<0x20:
        throw error(byte == 0x0A ? "string not closed" : "control character in a string")
      default: at += 1
      }
    }
  }

  private mutating func escape(into out: inout [UInt8]) throws(JSONSyntaxError) {
    guard let byte = peek else { throw error("string not closed") }
    at += 1
    switch byte {
    case UInt8(ascii: "n"): out.append(0x0A)
    case UInt8(ascii: "t"): out.append(0x09)
    case UInt8(ascii: "r"): out.append(0x0D)
    case UInt8(ascii: "b"): out.append(0x08)
    case UInt8(ascii: "f"): out.append(0x0C)
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(byte)
    case UInt8(ascii: "u"):
      var unit = try hex4()
      if (0xD800..<0xDC00).contains(unit), at + 1 < bytes.count,
        bytes[at] == UInt8(ascii: "\\"), bytes[at + 1] == UInt8(ascii: "u")
      {
        let back = at
        at += 2
        let low = try hex4()
        if (0xDC00..<0xE000).contains(low) {
          unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
        } else {
          at = back
        }
      }
      // A lone surrogate has no UTF-8 form; it becomes the replacement character.
      let scalar = Unicode.Scalar(unit) ?? "\u{FFFD}"
      out.append(contentsOf: Array(String(Character(scalar)).utf8))
    default: throw error("unknown escape \\\(Character(Unicode.Scalar(byte)))")
    }
  }

  private mutating func hex4() throws(JSONSyntaxError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue,
        byte < 0x80
      else { throw error("\\u needs four hexadecimal digits") }
      value = value << 4 | UInt32(digit)
      at += 1
    }
    return value
  }
}
