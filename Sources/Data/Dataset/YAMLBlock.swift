/// A value of the small part of YAML that cards use.
indirect enum YAMLValue: Equatable {
  case none
  case scalar(String)
  case sequence([YAMLValue])
  case pairs([Pair])

  struct Pair: Equatable {
    let key: String
    let value: YAMLValue
  }

  var text: String? {
    if case .scalar(let text) = self { return text }
    return nil
  }
  var list: [YAMLValue]? {
    if case .sequence(let list) = self { return list }
    return nil
  }
  var items: [YAMLValue] { list ?? [] }
  var mapping: [(String, YAMLValue)]? {
    if case .pairs(let pairs) = self { return pairs.map { ($0.key, $0.value) } }
    return nil
  }
  /// One text, or a list of them.
  var texts: [String] { text.map { [$0] } ?? items.compactMap(\.text) }

  subscript(key: String) -> YAMLValue {
    if case .pairs(let pairs) = self { return pairs.last { $0.key == key }?.value ?? .none }
    return .none
  }
}

/// Reads lines by their indentation.
struct YAMLBlock {
  private struct Line {
    var indent: Int
    var text: Substring
  }

  private static let depthLimit = 16
  private var lines: [Line]
  private var at = 0

  static func read(_ lines: [Substring]) -> YAMLValue {
    var block = YAMLBlock(
      lines: lines.compactMap { line in
        let text = line.drop { $0 == " " }
        guard let first = text.first, first != "#" else { return nil }
        return Line(indent: line.count - text.count, text: text)
      })
    return block.value(indent: block.lines.first?.indent ?? 0, depth: 0)
  }

  private init(lines: [Line]) { self.lines = lines }

  private mutating func value(indent: Int, depth: Int) -> YAMLValue {
    guard at < lines.count, lines[at].indent >= indent, depth < Self.depthLimit else {
      return .none
    }
    let own = lines[at].indent
    return lines[at].text.hasPrefix("-") && (lines[at].text.dropFirst().first ?? " ") == " "
      ? sequence(indent: own, depth: depth) : mapping(indent: own, depth: depth)
  }

  private mutating func sequence(indent: Int, depth: Int) -> YAMLValue {
    var list: [YAMLValue] = []
    while at < lines.count, lines[at].indent == indent, lines[at].text.hasPrefix("-") {
      let rest = lines[at].text.dropFirst().drop { $0 == " " }
      let inner = indent + lines[at].text.count - rest.count
      if rest.isEmpty {
        at += 1
        list.append(value(indent: indent + 1, depth: depth + 1))
      } else if Self.key(rest) != nil {
        // The element is a mapping that begins on this line.
        lines[at] = Line(indent: inner, text: rest)
        list.append(mapping(indent: inner, depth: depth + 1))
      } else {
        at += 1
        list.append(Self.scalar(rest))
      }
    }
    return .sequence(list)
  }

  private mutating func mapping(indent: Int, depth: Int) -> YAMLValue {
    var pairs: [YAMLValue.Pair] = []
    while at < lines.count, lines[at].indent == indent {
      guard let (key, rest) = Self.key(lines[at].text) else {
        at += 1
        continue
      }
      at += 1
      guard rest.isEmpty else {
        pairs.append(.init(key: key, value: Self.scalar(rest)))
        continue
      }
      // A list may begin at the column of its key.
      let isList = at < lines.count && lines[at].indent == indent && lines[at].text.hasPrefix("-")
      pairs.append(
        .init(key: key, value: value(indent: isList ? indent : indent + 1, depth: depth + 1)))
    }
    // What is deeper than anything expected is passed over.
    if at < lines.count, lines[at].indent > indent { at += 1 }
    return .pairs(pairs)
  }

  private static func key(_ text: Substring) -> (String, Substring)? {
    guard let colon = text.firstIndex(of: ":"), text.first != "[", text.first != "{" else {
      return nil
    }
    let rest = text[text.index(after: colon)...]
    guard rest.isEmpty || rest.first == " " else { return nil }
    return (unquoted(text[..<colon]), rest.drop { $0 == " " })
  }

  private static func scalar(_ text: Substring) -> YAMLValue {
    guard text.hasPrefix("["), let end = text.lastIndex(of: "]") else {
      return .scalar(unquoted(text))
    }
    let inner = text[text.index(after: text.startIndex)..<end]
    return .sequence(inner.split(separator: ",").map { .scalar(unquoted($0)) })
  }

  private static func unquoted(_ text: Substring) -> String {
    var text = text.drop { $0 == " " }
    while text.last == " " { text.removeLast() }
    if let first = text.first, first == "\"" || first == "'" {
      let inner = text.dropFirst()
      return String(inner.prefix { $0 != first })
    }
    if let comment = text.firstRange(of: " #") { text = text[..<comment.lowerBound] }
    while text.last == " " { text.removeLast() }
    return String(text)
  }
}
