import Support

/// Which parts of a conversation are trained, and how much (`--loss_scale`).
public enum LossScale: String, Sendable, CaseIterable {
  /// Replies and the last end mark.
  case standard = "default"
  case lastRound = "last_round"
  case all
  /// Empty `<think>` blocks are not trained.
  case ignoreEmptyThink = "ignore_empty_think"
  case lastRoundIgnoreEmptyThink = "last_round_with_ignore_empty_think"
  case react
  case hermes
  case qwen
  case agentFlan = "agentflan"
  case alphaUmi = "alpha_umi"

  /// - Throws: DATA-205.
  public init(named name: String) throws(Fault) {
    guard let value = LossScale(rawValue: name) else {
      throw Fault(
        .unknownTemplate, "there is no loss scale \"\(name)\"", at: .flag("loss_scale"),
        expected: Self.allCases.map(\.rawValue).joined(separator: ", "), found: name,
        fix: "name one of these")
    }
    self = value
  }

  /// Whether all weights are 0 or 1, so that labels alone say everything.
  public var isBinary: Bool {
    switch self {
    case .standard, .lastRound, .all, .ignoreEmptyThink, .lastRoundIgnoreEmptyThink: return true
    case .react, .hermes, .qwen, .agentFlan, .alphaUmi: return false
    }
  }

  var trainsLastRoundOnly: Bool { self == .lastRound || self == .lastRoundIgnoreEmptyThink }

  /// Weight of what is neither a reply nor the last end mark.
  var otherWeight: Float { self == .all ? 1 : 0 }

  /// The segments of a reply.
  /// - Parameter query: the user's words before it; nil after results of tools.
  func segments(ofReply text: String, query: String?, isLast: Bool) -> [Segment] {
    switch self {
    case .standard, .all: return [Segment(text, weight: 1)]
    case .lastRound: return [Segment(text, weight: isLast ? 1 : 0)]
    case .ignoreEmptyThink: return Self.split(text, emptyThink: 0)
    case .lastRoundIgnoreEmptyThink:
      return isLast ? Self.split(text, emptyThink: 0) : [Segment(text, weight: 0)]
    case .hermes: return Self.split(text, toolCalls: 2)
    case .react: return Self.split(text, at: Self.reactMarks)
    case .alphaUmi: return Self.split(text, at: Self.reactMarks + [Mark("Next:", 2, 2)])
    case .qwen: return Self.split(text, at: Self.qwenMarks)
    case .agentFlan:
      let asked = query.map { query in
        Self.agentFlanQuestions.contains { PythonText.contains(query, $0) }
      }
      return asked == true ? [Segment(text, weight: 3)] : Self.split(text, at: Self.agentFlanMarks)
    }
  }
}

extension LossScale {
  /// A mark in the text, its weight, and the weight of the text up to the next mark.
  struct Mark: Sendable {
    let text: String
    let weight: Float
    let following: Float

    init(_ text: String, _ weight: Float, _ following: Float) {
      self.text = text
      self.weight = weight
      self.following = following
    }
  }

  // The tables of ms-swift 3.9.1 (swift/plugin/loss_scale/config).
  private static let reactMarks = [
    Mark("Action:", 2, 2), Mark("Action Input:", 2, 2), Mark("Thought:", 1, 1),
    Mark("Final Answer:", 1, 1), Mark("Observation:", 2, 0),
  ]
  private static let qwenMarks = [
    Mark("✿FUNCTION✿:", 2, 2), Mark("✿ARGS✿:", 2, 2), Mark("✿RETURN✿:", 1, 1),
    Mark("✿RESULT✿:", 2, 0),
  ]
  private static let agentFlanMarks =
    [
      "Name:", "Action:", "ACTION:", "Tool:", "Command", "Arguments:", "action input",
      "ACTION_INPUT:", "Action Input:",
    ].map { Mark($0, 1, 3) } + [
      Mark("Thought:", 1, 1), Mark("Final Answer:", 1, 1), Mark("Observation:", 2, 0),
    ]
  private static let agentFlanQuestions = [
    "What is the tool you want to use", "What are the required parameter names",
    "What is the value of",
  ]

  /// Cuts at marks, the leftmost first, of two at one place the first of the list.
  static func split(_ text: String, at marks: [Mark]) -> [Segment] {
    let bytes = Array(text.utf8)
    let patterns = marks.map { Array($0.text.utf8) }
    var result: [Segment] = []
    var weight: Float = 1
    var start = 0
    var at = 0
    func append(_ range: Range<Int>, _ weight: Float) {
      result.append(Segment(String(decoding: bytes[range], as: UTF8.self), weight: weight))
    }
    while at < bytes.count {
      let found = patterns.firstIndex { bytes[at...].starts(with: $0) }
      guard let found else {
        at += 1
        continue
      }
      append(start..<at, weight)
      start = at + patterns[found].count
      append(at..<start, marks[found].weight)
      weight = marks[found].following
      at = start
    }
    append(start..<bytes.count, weight)
    return result
  }

  /// Gives `<tool_call>…</tool_call>` with at least one character between its own weight.
  static func split(_ text: String, toolCalls weight: Float) -> [Segment] {
    split(text, weight: weight) { rest in
      guard rest.starts(with: "<tool_call>".utf8) else { return nil }
      let inside = rest.dropFirst("<tool_call>".utf8.count)
      guard let first = inside.first else { return nil }
      // The closing tag may begin only after one whole character.
      let after = inside.dropFirst(UTF8Scan.length(of: first))
      return after.firstRange(of: "</tool_call>".utf8)?.upperBound
    }
  }

  /// Gives a `<think>` block with nothing but white space in it, and the white space after it,
  /// its own weight.
  static func split(_ text: String, emptyThink weight: Float) -> [Segment] {
    split(text, weight: weight) { rest in
      guard rest.starts(with: "<think>".utf8) else { return nil }
      let inside = Self.skipSpace(rest.dropFirst("<think>".utf8.count))
      guard inside.starts(with: "</think>".utf8) else { return nil }
      return Self.skipSpace(inside.dropFirst("</think>".utf8.count)).startIndex
    }
  }

  /// - Parameter match: the end of a match at the start of the bytes, or nil.
  private static func split(
    _ text: String, weight: Float, match: (ArraySlice<UInt8>) -> Int?
  ) -> [Segment] {
    let bytes = Array(text.utf8)
    var result: [Segment] = []
    var start = 0
    var at = 0
    while at < bytes.count {
      guard bytes[at] == UInt8(ascii: "<"), let end = match(bytes[at...]) else {
        at += 1
        continue
      }
      result.append(Segment(String(decoding: bytes[start..<at], as: UTF8.self), weight: 1))
      result.append(Segment(String(decoding: bytes[at..<end], as: UTF8.self), weight: weight))
      start = end
      at = end
    }
    result.append(Segment(String(decoding: bytes[start...], as: UTF8.self), weight: 1))
    return result
  }

  private static func skipSpace(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    var at = bytes.startIndex
    while at < bytes.endIndex {
      let end = min(at + UTF8Scan.length(of: bytes[at]), bytes.endIndex)
      let scalar = String(decoding: bytes[at..<end], as: UTF8.self).unicodeScalars.first
      guard let scalar, PythonText.isSpace(scalar) else { break }
      at = end
    }
    return bytes[at...]
  }
}
