import Support

extension RowReader {
  private static let roles: Set<String> = [
    "system", "user", "assistant", "tool_call", "tool_response", "tool",
  ]
  private static let roleNames = [
    "human": "user", "gpt": "assistant", "bot": "assistant", "function_call": "tool_call",
    "function_response": "tool_response", "observation": "tool_response",
    "observations": "tool_response",
  ]

  /// The messages layout: role and content, from and value, or pairs.
  mutating func readMessages(into row: inout StandardRow) throws(Fault) {
    let system = try takeText("system")
    guard let value = take("messages") else { throw emptyMessages }
    row.messages = try messageList(value, system: system, row: &row)
    if let rejected = take("rejected_messages") {
      // Media of the rejected answer are its own.
      var other = StandardRow(messages: [], source: source)
      let list = try messageList(rejected, system: nil, row: &other)
      row.others["rejected_messages"] = .array(list.map(\.json))
      if !other.images.isEmpty { row.others["rejected_images"] = .array(other.images) }
    }
  }

  var emptyMessages: Fault {
    bad("messages is empty", fix: "give at least one message, or drop the row")
  }

  private func messageList(
    _ value: JSONValue, system: String?, row: inout StandardRow
  ) throws(Fault) -> [Message] {
    let list = value.string.map { PythonLiteral.parse($0) ?? value } ?? value
    guard let items = list.array else {
      throw bad(
        "messages must be a list, found \(value.kind)",
        fix: "write [{\"role\": \"user\", \"content\": \"...\"}, ...]")
    }
    guard let first = items.first else { throw emptyMessages }
    let isPairs =
      first.object != nil
      && ["role", "from", "content", "value"].allSatisfy { first[$0] == nil }
    var messages: [Message] = []
    for (i, item) in items.enumerated() {
      guard let object = item.object else {
        throw bad("messages[\(i)] must be an object, found \(item.kind)")
      }
      if isPairs {
        messages += try pair(object, index: i, row: &row)
      } else {
        messages.append(try message(object, index: i, row: &row))
      }
    }
    if let system, messages.first?.role != "system" || isPairs {
      messages.insert(Message(role: "system", content: system), at: 0)
    }
    return messages
  }

  private func message(
    _ object: JSONObject, index: Int, row: inout StandardRow
  ) throws(Fault) -> Message {
    let field = "messages[\(index)]"
    // As in the reference, `from` and `value` win where both spellings stand.
    guard let roleValue = object.first(["from", "role"]) else {
      throw bad(
        "\(field).role is missing", fix: "roles are system, user, assistant, tool_call, tool")
    }
    let word = roleValue.string ?? ""
    let role = Self.roleNames[word.replacing("-", with: "_")] ?? Self.roleNames[word] ?? word
    guard Self.roles.contains(role) else {
      throw bad(
        "\(field).role is \(roleValue.write())",
        fix: "use system, user, assistant, tool_call, tool_response or tool")
    }
    let content = try text(
      object.first(["value", "content"]), field: "\(field).content", row: &row)
    return Message(role: role, content: content, loss: try loss(object["loss"], field: field))
  }

  private func loss(_ value: JSONValue?, field: String) throws(Fault) -> Bool? {
    switch value {
    case nil, .null?: return nil
    case .bool(let flag)?: return flag
    case .number?:
      if let number = value?.double, number == 0 || number == 1 { return number == 1 }
      fallthrough
    default: throw bad("\(field).loss must be true or false, found \(value?.write() ?? "")")
    }
  }

  /// One turn of the pair form: `{"human": ..., "assistant": ...}`.
  private func pair(
    _ object: JSONObject, index: Int, row: inout StandardRow
  ) throws(Fault) -> [Message] {
    let user = object.first(["human", "user"])
    let assistant = object.first(["bot", "gpt", "assistant"])
    guard user != nil, assistant != nil else {
      throw bad(
        "messages[\(index)] has neither role and content nor a pair; its keys are "
          + object.keys.joined(separator: ", "),
        fix: "write {\"role\": ..., \"content\": ...} or {\"human\": ..., \"assistant\": ...}")
    }
    let field = "messages[\(index)]"
    return [
      Message(role: "user", content: try text(user, field: "\(field).user", row: &row)),
      Message(
        role: "assistant", content: try text(assistant, field: "\(field).assistant", row: &row)),
    ]
  }

  /// Content as text; parts of the chat APIs are joined, their media become tags.
  private func text(
    _ value: JSONValue?, field: String, row: inout StandardRow
  ) throws(Fault) -> String {
    switch value {
    case .string(let text)?: return text
    case .array(let parts)?:
      var text = ""
      for (i, part) in parts.enumerated() {
        guard part.object != nil else {
          throw bad(
            "\(field) must be a string, found a list that holds \(part.kind)",
            fix: "join the list to one text, or write parts as {\"type\": \"text\", \"text\": ...}")
        }
        text += try partText(part, field: "\(field)[\(i)]", row: &row)
      }
      return text
    case nil: throw bad("\(field) is missing", fix: "give each message a content")
    case .null?: throw bad("\(field) is null", fix: "give the message a text, or drop the row")
    case let other?:
      throw bad("\(field) must be a string, found \(other.kind)", fix: "put the value in quotes")
    }
  }

  private func partText(
    _ part: JSONValue, field: String, row: inout StandardRow
  ) throws(Fault) -> String {
    let type = part["type"]?.string ?? ""
    if type == "text" {
      guard let text = part["text"]?.string else { throw bad("\(field).text must be a string") }
      return text
    }
    let kind = type.hasSuffix("_url") ? String(type.dropLast(4)) : type
    guard ["image", "video", "audio"].contains(kind) else {
      throw bad(
        "\(field).type is \(part["type"]?.write() ?? "missing")",
        fix: "use text, image, image_url, video, video_url or audio")
    }
    let held = part[type] ?? part[kind] ?? part["url"]
    guard let medium = held?["url"] ?? held, !medium.isNull else {
      throw bad("\(field).\(type) is missing", fix: "give the path or address of the medium")
    }
    switch kind {
    case "image": row.images.append(try image(medium, field: "\(field).\(type)"))
    case "video": row.videos.append(try clip(medium, field: "\(field).\(type)"))
    default: row.audios.append(try clip(medium, field: "\(field).\(type)"))
    }
    return "<\(kind)>"
  }
}

extension Message {
  /// The message as a row writes it.
  var json: JSONValue {
    var object = JSONObject([("role", .string(role)), ("content", .string(content))])
    if let loss { object["loss"] = .bool(loss) }
    return .object(object)
  }
}

extension JSONObject {
  /// The first member of these names that is not null; else one that is null; else nil. A file
  /// whose rows differ often holds null under the names a row does not use.
  fileprivate func first(_ names: [String]) -> JSONValue? {
    let held = names.compactMap { self[$0] }
    return held.first { !$0.isNull } ?? held.first
  }
}
