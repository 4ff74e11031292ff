import Support

/// What must hold of a standard row before it is rendered: order of the roles, something to train
/// on, readable tools, media that the model can take.
struct RowStructure: Sendable {
  let acceptsMedia: Bool
  let requiresAnswer: Bool

  /// - Returns: warnings about marks in the text that have no medium or box.
  /// - Throws: `DATA-102` naming the message, what is wrong and how to mend it.
  func check(_ row: StandardRow) throws(Fault) -> [String] {
    guard row.inputIDs == nil else { return [] }
    let reader = RowReader(columns: JSONObject(), source: row.source)
    try checkMedia(row, reader)
    try checkRoles(row, reader)
    try checkTools(row, reader)
    return warnings(row)
  }

  private func checkMedia(_ row: StandardRow, _ reader: RowReader) throws(Fault) {
    let counts = [
      ("picture", row.images.count), ("clip", row.videos.count), ("sound", row.audios.count),
    ].filter { $0.1 > 0 }
    guard !acceptsMedia, !counts.isEmpty else { return }
    let list = counts.map { "\($0.1) \($0.0)\($0.1 == 1 ? "" : "s")" }.joined(separator: ", ")
    throw reader.bad(
      "the row has \(list), but the model reads text only",
      fix: "train a model of the Qwen3-VL family, or take the media out of the row")
  }

  /// Rounds are (user or tool, assistant); neighbours of one kind count as one turn.
  private func checkRoles(_ row: StandardRow, _ reader: RowReader) throws(Fault) {
    var turns: [(kind: String, place: Int)] = []
    for (i, message) in row.messages.enumerated() {
      let kind: String
      switch message.role {
      case "system":
        guard i == 0 else {
          throw reader.bad(
            "messages[\(i)].role is system, but a system message must come first",
            fix: "move it to the front")
        }
        continue
      case "tool_call", "assistant": kind = "assistant"
      case "tool", "tool_response": kind = "tool"
      default: kind = message.role
      }
      if turns.last?.kind != kind { turns.append((kind, i)) }
    }
    guard !requiresAnswer || turns.contains(where: { $0.kind == "assistant" }) else {
      throw reader.bad(
        "no assistant text, nothing to train on", fix: "add an answer or drop the row")
    }
    if turns.first?.kind == "assistant" { turns.insert(("user", 0), at: 0) }
    for (i, turn) in turns.enumerated() where (turn.kind == "assistant") != (i % 2 == 1) {
      let role = row.messages[turn.place].role
      throw reader.bad(
        turn.kind == "tool"
          ? "messages[\(turn.place)].role is \(role), but no tool_call stands before it"
          : "messages[\(turn.place)].role is \(role), out of turn",
        fix: "turns go user (or tool result), assistant, and so on")
    }
  }

  private func checkTools(_ row: StandardRow, _ reader: RowReader) throws(Fault) {
    if let text = row.tools?.string, !text.isEmpty, (try? JSONValue.parse(text)) == nil {
      throw reader.bad("tools is not valid JSON", fix: "write a list of functions as JSON")
    }
    for (i, message) in row.messages.enumerated() where message.role == "tool_call" {
      guard (try? JSONValue.parse(message.content)) != nil else {
        throw reader.bad(
          "messages[\(i)]: tool_call content is not valid JSON",
          fix: "write {\"name\": ..., \"arguments\": {...}}")
      }
    }
  }

  private func warnings(_ row: StandardRow) -> [String] {
    var texts: [String] = []
    func compare(_ tag: String, _ given: Int, _ what: String) {
      let tags = row.messages.reduce(0) { $0 + $1.content.count(ofMark: tag) }
      if tags > given {
        texts.append("\(tags) \(tag) but \(given) \(what); surplus marks stay as plain text")
      } else if acceptsMedia, tags > 0, tags < given, tag == "<image>" || tag == "<video>" {
        texts.append(
          "\(tags) \(tag) but \(given) \(what); the missing marks are put at the front")
      }
    }
    compare("<image>", row.images.count, "pictures")
    compare("<video>", row.videos.count, "clips")
    if let objects = row.objects {
      compare("<bbox>", objects["bbox"]?.array?.count ?? 0, "boxes")
      compare("<ref-object>", objects["ref"]?.array?.count ?? 0, "references")
    }
    return texts
  }
}

extension String {
  /// How often a mark of ASCII letters stands in the text. Bytes are compared: texts are long and
  /// nearly all hold none.
  func count(ofMark mark: String) -> Int {
    var text = self
    let wanted = Array(mark.utf8)
    return text.withUTF8 { bytes in
      guard bytes.count >= wanted.count, let first = wanted.first else { return 0 }
      var count = 0
      var at = 0
      while let place = bytes[at...].firstIndex(of: first) {
        guard place + wanted.count <= bytes.count else { break }
        if bytes[place..<(place + wanted.count)].elementsEqual(wanted) {
          count += 1
          at = place + wanted.count
        } else {
          at = place + 1
        }
      }
      return count
    }
  }
}
