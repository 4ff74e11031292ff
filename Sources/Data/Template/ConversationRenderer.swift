import Support

/// Writes a conversation with the marks of the template.
struct ConversationRenderer {
  let options: TemplateOptions
  /// Text of the token that ends a sequence.
  let endText: String
  let isPrompt: Bool
  let source: StandardRow.Source

  static let turnEnd = "<|im_end|>"
  private static let userStart = "<|im_start|>user\n"
  private static let assistantStart = "<|im_start|>assistant\n"

  /// The weighted segments, in order; neighbours of equal weight are not joined yet.
  /// - Throws: DATA-201 for what plain text has no place for.
  func segments(_ conversation: Conversation) throws(Fault) -> [Segment] {
    let parts =
      options.usesChatTemplate ? chat(conversation) : try plain(conversation)
    let rounds = conversation.rounds
    var result: [Segment] = []
    for part in parts {
      switch part {
      case .other(let text): result.append(Segment(text, weight: options.lossScale.otherWeight))
      case .suffix(let text): result.append(Segment(text, weight: 1))
      case .response(let i):
        let text = rounds[i].response ?? ""
        if let loss = rounds[i].loss {
          result.append(Segment(text, weight: loss ? 1 : 0))
        } else {
          result += options.lossScale.segments(
            ofReply: text, query: rounds[i].query.userText, isLast: i == rounds.count - 1)
        }
      }
    }
    return result
  }

  private func chat(_ conversation: Conversation) -> [RenderedPart] {
    var parts: [RenderedPart] = []
    var system = conversation.system ?? options.system
    if let tools = conversation.tools { system = HermesTools.systemText(system, tools: tools) }
    if let system, !system.isEmpty {
      parts.append(.other("<|im_start|>system\n\(system)\(Self.turnEnd)\n"))
    }
    for (i, round) in conversation.rounds.enumerated() {
      switch round.query {
      case .user(let text): parts.append(.other(turn(text)))
      case .toolResults(let text): parts.append(.other("\(Self.turnEnd)\n" + turn(text)))
      case .observation(let text): parts.append(.other(text))
      }
      guard i < conversation.rounds.count - 1 else {
        parts += end(round, index: i, suffix: Self.turnEnd)
        break
      }
      parts.append(.response(i))
      // Results of tools bring the end of the turn along.
      if conversation.rounds[i + 1].query.userText != nil {
        parts.append(.other("\(Self.turnEnd)\n"))
      }
    }
    return parts
  }

  private func turn(_ text: String) -> String {
    "\(Self.userStart)\(text)\(Self.turnEnd)\n\(Self.assistantStart)"
  }

  /// Question and answer of the last round without marks.
  private func plain(_ conversation: Conversation) throws(Fault) -> [RenderedPart] {
    func bad(_ what: String) -> Fault {
      Fault(
        .badConversation, "\(what) has no place in plain text",
        at: .file(source.file, line: source.line),
        fix: "take it out of the row, or train with --use_chat_template true")
    }
    if let system = conversation.system, !system.isEmpty { throw bad("a system message") }
    if conversation.tools != nil { throw bad("a list of tools") }
    let last = conversation.rounds.count - 1
    var parts: [RenderedPart] = []
    switch conversation.rounds[last].query {
    case .user(let text), .observation(let text): parts.append(.other(text))
    case .toolResults: throw bad("a tool result")
    }
    return parts + end(conversation.rounds[last], index: last, suffix: endText)
  }

  /// The last reply and its end, or what a prompt ends with.
  private func end(_ round: Conversation.Round, index: Int, suffix: String) -> [RenderedPart] {
    guard let response = round.response else {
      return [.other(options.responsePrefix ?? options.template.responsePrefix)]
    }
    let stops = [Self.turnEnd, "<|endoftext|>", endText]
    if isPrompt || stops.contains(where: { PythonText.hasSuffix(response, $0) }) {
      return [.response(index)]
    }
    return [.response(index), .suffix(suffix)]
  }
}
