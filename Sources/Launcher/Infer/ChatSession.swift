import Support

/// The state of a conversation at the terminal, without the terminal: what a line means, and what
/// is asked next.
struct ChatSession {
  /// What happens after a line.
  enum Action: Equatable {
    /// Read another line.
    case read
    case leave
    /// Answer the conversation in `request`.
    case answer
  }

  /// A tag in a question whose file is asked for.
  enum MediaKind: String, CaseIterable {
    case image, video, audio
    var prompt: String {
      self == .image || self == .audio
        ? "Input an \(rawValue) path or URL <<< " : "Input a \(rawValue) path or URL <<< "
    }
  }

  let defaultSystem: String?
  /// Questions may have pictures: their tags ask for files.
  let readsMedia: Bool
  private var messages: [InferRequest.Message] = []
  private var system: String?
  private var isMultiLine = false
  private var expectsSystem = false
  private var lines: [String] = []
  private var wantedMedia: [MediaKind] = []
  private(set) var media: [MediaKind: [String]] = [:]

  init(system: String?, readsMedia: Bool) {
    defaultSystem = system
    self.system = system
    self.readsMedia = readsMedia
  }

  /// What is printed before a line is read.
  var prompt: String {
    if let kind = wantedMedia.first { return kind.prompt }
    if !lines.isEmpty { return "" }
    let marks = (isMultiLine ? "M" : "") + (expectsSystem ? "S" : "")
    return marks.isEmpty ? "<<< " : "<<<[\(marks)] "
  }

  /// How to leave and what else is understood.
  static let help = [
    "Enter \"exit\" or \"quit\" to leave.",
    "Enter \"multi-line\" for input of several lines that ends with a line ending in #, and "
      + "\"single-line\" to go back.",
    "Enter \"reset-system\" to set another system text.",
    "Enter \"clear\" to forget the conversation.",
  ]

  var request: InferRequest {
    let first = system.map { [InferRequest.Message(role: "system", content: $0)] } ?? []
    var request = InferRequest(messages: first + messages)
    request.images = media[.image] ?? []
    request.videos = media[.video] ?? []
    return request
  }

  /// - Parameter line: nil at the end of the input.
  mutating func take(_ line: String?) -> Action {
    guard let line else { return .leave }
    if !wantedMedia.isEmpty {
      let kind = wantedMedia.removeFirst()
      media[kind, default: []].append(line.trimmed)
      return wantedMedia.isEmpty ? .answer : .read
    }
    if isMultiLine, !Self.commands.contains(line.trimmed.lowercased()) || !lines.isEmpty {
      guard line.hasSuffix("#") else {
        lines.append(line)
        return .read
      }
      let text = (lines + [String(line.dropLast())]).joined(separator: "\n")
      lines = []
      return text.trimmed.isEmpty ? .read : take(text: text)
    }
    let word = line.trimmed
    return word.isEmpty ? .read : take(text: isMultiLine ? word : line)
  }

  private static let commands: Set<String> = [
    "exit", "quit", "clear", "reset-system", "multi-line", "single-line", "",
  ]

  private mutating func take(text: String) -> Action {
    if expectsSystem {
      expectsSystem = false
      system = text.trimmed == "default-system" ? defaultSystem : text
      clear()
      return .read
    }
    switch text.trimmed.lowercased() {
    case "exit", "quit": return .leave
    case "clear": clear()
    case "reset-system": expectsSystem = true
    case "multi-line": isMultiLine = true
    case "single-line": isMultiLine = false
    default: return ask(text)
    }
    return .read
  }

  private mutating func ask(_ text: String) -> Action {
    if text.hasPrefix("tool:") {
      messages.append(.init(role: "tool", content: String(text.dropFirst("tool:".count))))
    } else {
      messages.append(.init(role: "user", content: text))
    }
    wantedMedia = readsMedia ? Self.tags(in: text) : []
    return wantedMedia.isEmpty ? .answer : .read
  }

  /// Tags in reading order.
  static func tags(in text: String) -> [MediaKind] {
    var found: [(place: String.Index, kind: MediaKind)] = []
    for kind in MediaKind.allCases {
      found += text.ranges(of: "<\(kind.rawValue)>").map { ($0.lowerBound, kind) }
    }
    return found.sorted { $0.place < $1.place }.map(\.kind)
  }

  /// The answer becomes part of the conversation.
  mutating func answered(_ text: String) {
    messages.append(.init(role: "assistant", content: text))
  }

  /// The last question could not be answered and is taken back.
  mutating func takeBack() {
    if let last = messages.popLast() {
      for kind in Self.tags(in: last.content).reversed() { _ = media[kind]?.popLast() }
    }
  }

  private mutating func clear() {
    messages = []
    media = [:]
  }
}

extension String {
  var trimmed: String {
    var text = self[...]
    while let c = text.first, c.isWhitespace { text.removeFirst() }
    while let c = text.last, c.isWhitespace { text.removeLast() }
    return String(text)
  }
}

/// Shows text as it comes, but no partial words: what follows the last space, line end or CJK
/// character waits.
struct WordwiseText {
  private var held = ""

  /// - Returns: what may be shown now.
  mutating func add(_ text: String) -> String {
    held += text
    guard let last = held.lastIndex(where: Self.endsWord) else { return "" }
    let end = held.index(after: last)
    defer { held = String(held[end...]) }
    return String(held[..<end])
  }

  mutating func finish() -> String {
    defer { held = "" }
    return held
  }

  private static func endsWord(_ c: Character) -> Bool {
    if c == " " || c.isNewline { return true }
    guard let value = c.unicodeScalars.first?.value else { return false }
    return (0x4E00...0x9FFF).contains(value) || (0x3400...0x4DBF).contains(value)
      || (0x20000...0x2FA1F).contains(value) || (0xF900...0xFAFF).contains(value)
  }
}
