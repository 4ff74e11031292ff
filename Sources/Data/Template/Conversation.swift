import Support

/// The turns of a row as rounds of question and reply, ready to be rendered.
struct Conversation: Equatable {
  /// One question and its reply.
  struct Round: Equatable {
    /// What stands before the reply. For results of tools all of it, marks included.
    var query: Query
    /// nil: open, to be generated.
    var response: String?
    /// The row's own verdict on training this reply.
    var loss: Bool?
  }

  enum Query: Equatable {
    case user(String)
    /// Results of tools as Hermes has them, to be wrapped like a user's turn.
    case toolResults(String)
    /// Results that continue the assistant's own turn (ReAct: after `Observation:`).
    case observation(String)

    /// The user's words; nil for results.
    var userText: String? {
      if case .user(let text) = self { return text }
      return nil
    }
  }

  var system: String?
  var tools: [JSONValue]?
  var rounds: [Round]
}

/// Turns the messages of a row into a conversation (data.md section 5).
struct ConversationBuilder {
  let options: TemplateOptions
  /// Whether the last reply is to be generated.
  let isPrompt: Bool
  let source: StandardRow.Source

  private static let roles = ["system", "user", "assistant", "tool_call", "tool_response", "tool"]

  /// A message with its place in the row.
  private struct Turn {
    /// user, assistant or tool.
    var role: String
    var content: String
    var loss: Bool?
    let index: Int
    /// For tool results: they continue the assistant's turn.
    var isObservation = false
  }

  private func bad(_ message: String, fix: String) -> Fault {
    Fault(.badConversation, message, at: .file(source.file, line: source.line), fix: fix)
  }

  /// - Throws: DATA-201 naming the role and its place, DATA-202.
  func build(_ row: StandardRow) throws(Fault) -> Conversation {
    guard !row.messages.isEmpty else {
      throw bad("messages is empty", fix: "give at least a user and an assistant message")
    }
    try checkRoles(row.messages)
    let tools = HermesTools(source: source)
    var turns = try formatCalls(row.messages, tools)
    let system = row.messages[0].role == "system" ? row.messages[0].content : nil
    if isPrompt, turns.last?.role == "assistant", row.messages.last?.role == "assistant" {
      turns.removeLast()
    }
    guard !turns.isEmpty else {
      throw bad(
        system == nil
          ? "there is no user message to answer"
          : "messages[0] is a system message and nothing follows",
        fix: "add a user message" + (isPrompt ? "" : " and an assistant message"))
    }
    join(&turns)
    treatThinking(&turns)
    return Conversation(
      system: system, tools: try tools.tools(row.tools), rounds: try pair(turns))
  }

  private func checkRoles(_ messages: [Message]) throws(Fault) {
    for (i, message) in messages.enumerated() {
      guard Self.roles.contains(message.role) else {
        throw bad(
          "messages[\(i)].role is \"\(message.role)\"",
          fix: "use system, user, assistant, tool_call, tool_response or tool")
      }
      if message.role == "system" && i > 0 {
        throw bad(
          "messages[\(i)].role is \"system\", which only the first message may be",
          fix: "move the system message to the front")
      }
    }
  }

  /// Takes the system message off and makes each run of calls one assistant turn.
  private func formatCalls(_ messages: [Message], _ tools: HermesTools) throws(Fault) -> [Turn] {
    var turns: [Turn] = []
    var previousIsCall = false
    for (i, message) in messages.enumerated() where message.role != "system" {
      let isCall = message.role == "tool_call"
      if isCall {
        let text = try tools.call(message.content, index: i)
        if previousIsCall {
          turns[turns.count - 1].content += "\n" + text
        } else {
          turns.append(Turn(role: "assistant", content: text, loss: message.loss, index: i))
        }
      } else {
        let role = message.role == "tool_response" ? "tool" : message.role
        turns.append(Turn(role: role, content: message.content, loss: message.loss, index: i))
      }
      previousIsCall = isCall
    }
    return turns
  }

  /// Joins neighbours of one role without a separator, and the results of one round. Of joined
  /// replies the first one's `loss` counts, as in the reference.
  private func join(_ turns: inout [Turn]) {
    var result: [Turn] = []
    var at = 0
    while at < turns.count {
      let turn = turns[at]
      at += 1
      guard let last = result.last else {
        result.append(turn)
        continue
      }
      if turn.role == last.role && turn.role != "tool" {
        result[result.count - 1].content += turn.content
      } else if turn.role == "tool" && last.role == "assistant" {
        var contents = [turn.content]
        while at < turns.count, turns[at].role == "tool" {
          contents.append(turns[at].content)
          at += 1
        }
        result.append(results(contents, at: turn.index, after: &result[result.count - 1]))
      } else {
        result.append(turn)
      }
    }
    turns = result
  }

  /// One turn of tool results. A reply in ReAct's form is continued instead of answered.
  private func results(_ contents: [String], at index: Int, after reply: inout Turn) -> Turn {
    guard PythonText.contains(reply.content, "Action:"),
      PythonText.contains(reply.content, "Action Input:")
    else {
      return Turn(role: "tool", content: HermesTools.results(contents), index: index)
    }
    if !PythonText.hasSuffix(reply.content, "Observation:") {
      if !PythonText.hasSuffix(reply.content, "\n") { reply.content += "\n" }
      reply.content += "Observation:"
    }
    let lines = contents.map { PythonText.hasSuffix($0, "\n") ? $0 : $0 + "\n" }
    let text = lines.joined(separator: "Observation:")
    return Turn(role: "tool", content: text, index: index, isObservation: true)
  }

  private func treatThinking(_ turns: inout [Turn]) {
    if let empty = options.template.emptyThinking, options.usesChatTemplate {
      for i in turns.indices where turns[i].role == "assistant" {
        if !PythonText.hasPrefix(turns[i].content, "<think>") {
          turns[i].content = empty + turns[i].content
        }
      }
    }
    let cuts = isPrompt || options.lossScale.trainsLastRoundOnly
    guard options.template.cutsEarlierThinking && cuts else { return }
    for i in turns.indices.dropLast() where turns[i].role == "assistant" {
      let answer = PythonText.afterLast("</think>", in: turns[i].content)
      turns[i].content = PythonText.strip(answer)
    }
  }

  private func pair(_ turns: [Turn]) throws(Fault) -> [Conversation.Round] {
    var turns = turns
    if turns[0].role == "assistant" {
      // Plain text without a question.
      turns.insert(Turn(role: "user", content: "", index: turns[0].index), at: 0)
    }
    var rounds: [Conversation.Round] = []
    for i in stride(from: 0, to: turns.count, by: 2) {
      let question = turns[i]
      let reply = i + 1 < turns.count ? turns[i + 1] : nil
      guard question.role != "assistant", i > 0 || question.role == "user" else {
        throw misplaced(question, expected: "user")
      }
      if let reply, reply.role != "assistant" { throw misplaced(reply, expected: "assistant") }
      let query: Conversation.Query =
        question.role == "user"
        ? .user(question.content)
        : question.isObservation ? .observation(question.content) : .toolResults(question.content)
      rounds.append(.init(query: query, response: reply?.content, loss: reply?.loss))
    }
    return rounds
  }

  private func misplaced(_ turn: Turn, expected: String) -> Fault {
    if turn.role == "tool" {
      return bad(
        "messages[\(turn.index)] is a tool result without a tool call before it",
        fix: "put the tool_call or assistant message that it answers before it")
    }
    return bad(
      "messages[\(turn.index)].role is \"\(turn.role)\" where \(expected) should be",
      fix: "let user (or tool) and assistant messages take turns")
  }
}
