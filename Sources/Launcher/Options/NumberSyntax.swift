/// Reads numbers as Python's `int()` and `float()` do.
enum NumberSyntax {
  /// Optional sign, digits, single underscores between digits; blanks around are ignored.
  static func int(_ text: String) -> Int? {
    let bytes = Array(trimmed(text).utf8)
    var at = 0
    var digits = ""
    if at < bytes.count, bytes[at] == UInt8(ascii: "-") || bytes[at] == UInt8(ascii: "+") {
      if bytes[at] == UInt8(ascii: "-") { digits = "-" }
      at += 1
    }
    guard let rest = digitRun(bytes, &at, required: true), at == bytes.count else { return nil }
    return Int(digits + rest)
  }

  /// Decimal with optional point and exponent (`1e-5`, `2.`, `.5`), `inf`, `infinity`, `nan`.
  static func float(_ text: String) -> Double? {
    let bytes = Array(trimmed(text).utf8)
    var at = 0
    var sign = ""
    if at < bytes.count, bytes[at] == UInt8(ascii: "-") || bytes[at] == UInt8(ascii: "+") {
      if bytes[at] == UInt8(ascii: "-") { sign = "-" }
      at += 1
    }
    switch String(decoding: bytes[at...], as: UTF8.self).lowercased() {
    case "inf", "infinity": return sign.isEmpty ? .infinity : -.infinity
    case "nan": return .nan
    default: break
    }
    guard let whole = digitRun(bytes, &at, required: false) else { return nil }
    var fraction = ""
    if at < bytes.count, bytes[at] == UInt8(ascii: ".") {
      at += 1
      guard let digits = digitRun(bytes, &at, required: false) else { return nil }
      fraction = digits
    }
    guard !(whole.isEmpty && fraction.isEmpty) else { return nil }
    var exponent = ""
    if at < bytes.count, bytes[at] == UInt8(ascii: "e") || bytes[at] == UInt8(ascii: "E") {
      at += 1
      if at < bytes.count, bytes[at] == UInt8(ascii: "-") || bytes[at] == UInt8(ascii: "+") {
        if bytes[at] == UInt8(ascii: "-") { exponent = "-" }
        at += 1
      }
      guard let digits = digitRun(bytes, &at, required: true) else { return nil }
      exponent = "e" + exponent + digits
    }
    guard at == bytes.count else { return nil }
    return Double(
      "\(sign)\(whole.isEmpty ? "0" : whole).\(fraction.isEmpty ? "0" : fraction)\(exponent)")
  }

  /// Digits with single underscores between them.
  /// - Returns: nil for a misplaced underscore, or for no digit where one is required.
  private static func digitRun(_ bytes: [UInt8], _ at: inout Int, required: Bool) -> String? {
    var digits: [UInt8] = []
    while at < bytes.count {
      if (48...57).contains(bytes[at]) {
        digits.append(bytes[at])
      } else if bytes[at] == UInt8(ascii: "_") {
        guard !digits.isEmpty, at + 1 < bytes.count, (48...57).contains(bytes[at + 1]) else {
          return nil
        }
      } else {
        break
      }
      at += 1
    }
    return required && digits.isEmpty ? nil : String(decoding: digits, as: UTF8.self)
  }

  private static func trimmed(_ text: String) -> Substring {
    var rest = Substring(text)
    while let first = rest.first, first.isWhitespace { rest.removeFirst() }
    while let last = rest.last, last.isWhitespace { rest.removeLast() }
    return rest
  }
}
