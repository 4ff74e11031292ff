import Support

extension RowReader {
  /// The query/response layout with `system` and `history`.
  mutating func readQueryResponse(into row: inout StandardRow, pick: Int) throws(Fault) {
    let response = try takeResponse(pick: pick)
    let query = try takeText("query")
    let system = try takeText("system")
    var messages: [Message] = []
    if let system { messages.append(Message(role: "system", content: system)) }
    for (user, assistant) in try takeHistory() + [(query, response)] {
      if let user { messages.append(Message(role: "user", content: user)) }
      if let assistant { messages.append(Message(role: "assistant", content: assistant)) }
    }
    guard !messages.isEmpty else { throw emptyMessages }
    row.messages = messages
  }

  private mutating func takeResponse(pick: Int) throws(Fault) -> String? {
    guard let list = columns["response"]?.array else { return try takeText("response") }
    columns["response"] = nil
    guard !list.isEmpty else { throw bad("response is an empty list") }
    let item = list[min(pick, list.count - 1)]
    guard let text = item.string else {
      throw bad("response must hold strings, found \(item.kind)")
    }
    return text
  }

  private mutating func takeHistory() throws(Fault) -> [(String?, String?)] {
    guard let value = take("history") else { return [] }
    let list = value.string.map { PythonLiteral.parse($0) ?? value } ?? value
    guard let turns = list.array else {
      throw bad("history must be a list of [question, answer], found \(value.kind)")
    }
    var history: [(String?, String?)] = []
    for (i, turn) in turns.enumerated() {
      guard let parts = turn.array, parts.count == 2,
        parts.allSatisfy({ $0.isNull || $0.string != nil })
      else { throw bad("history[\(i)] must be [question, answer], two strings") }
      history.append((parts[0].string, parts[1].string))
    }
    return history
  }

  /// The alpaca layout: instruction and input make the query, output is the response.
  mutating func joinInstruction() throws(Fault) {
    let instruction = try takeText("instruction")
    let input = try takeText("input")
    if let output = take("output") { columns["response"] = output }
    guard instruction != nil || input != nil else {
      throw bad("instruction and input are both null", fix: "give one of them")
    }
    let parts = [instruction ?? "", input ?? ""].filter { !$0.isEmpty }
    columns["query"] = .string(parts.joined(separator: "\n"))
  }
}
