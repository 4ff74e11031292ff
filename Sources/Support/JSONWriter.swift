extension JSONValue {
  /// How a value is written: `compact` has no blanks, `python` is `json.dumps` with
  /// `ensure_ascii=False` (blanks after `,` and `:`), `indented` is `indent=2`.
  public enum Style: Sendable { case compact, python, indented }

  public func write(_ style: Style = .compact) -> String {
    var out = ""
    write(into: &out, style: style, depth: 0)
    return out
  }

  private func write(into out: inout String, style: Style, depth: Int) {
    let comma = style == .python ? ", " : ","
    func newline(_ depth: Int) {
      if style == .indented {
        out += "\n" + String(repeating: "  ", count: depth)
      }
    }
    switch self {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .number(let text): out += Self.pythonWords[text] ?? text
    case .string(let text): Self.quote(text, into: &out)
    case .array(let items):
      if items.isEmpty {
        out += "[]"
        return
      }
      out += "["
      for (i, item) in items.enumerated() {
        if i > 0 { out += comma }
        newline(depth + 1)
        item.write(into: &out, style: style, depth: depth + 1)
      }
      newline(depth)
      out += "]"
    case .object(let object):
      if object.isEmpty {
        out += "{}"
        return
      }
      out += "{"
      for (i, member) in object.members.enumerated() {
        if i > 0 { out += comma }
        newline(depth + 1)
        Self.quote(member.key, into: &out)
        out += style == .compact ? ":" : ": "
        member.value.write(into: &out, style: style, depth: depth + 1)
      }
      newline(depth)
      out += "}"
    }
  }

  private static let pythonWords = ["nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"]

  private static func quote(_ text: String, into out: inout String) {
    out += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      case "\u{08}": out += "\\b"
      case "\u{0C}": out += "\\f"
      case _ where scalar.value < 0x20:
        let hex = String(scalar.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: out.unicodeScalars.append(scalar)
      }
    }
    out += "\""
  }
}
