import Support

/// How tools, calls and results are written for Qwen models (the Hermes form).
struct HermesTools {
  let source: StandardRow.Source

  private func bad(_ message: String, fix: String) -> Fault {
    Fault(.badTools, message, at: .file(source.file, line: source.line), fix: fix)
  }

  /// The tools of a row, each wrapped as a function; nil if the row has none.
  /// - Throws: DATA-202.
  func tools(_ value: JSONValue?) throws(Fault) -> [JSONValue]? {
    guard let value, !value.isNull, value != .string("") else { return nil }
    var items: [JSONValue]
    switch value {
    case .string(let text):
      let parsed = try parse(text, what: "tools")
      items = parsed.array ?? [parsed]
    case .array(let list): items = list
    default: items = [value]
    }
    for (i, item) in items.enumerated() {
      var tool = item
      if let text = item.string { tool = try parse(text, what: "tools[\(i)]") }
      guard let object = tool.object else {
        throw bad(
          "tools[\(i)] must be an object, found \(tool.kind)",
          fix: "describe each tool as {\"name\": ..., \"parameters\": {...}}")
      }
      if object["type"] == nil && object["function"] == nil {
        tool = .object(JSONObject([("type", .string("function")), ("function", tool)]))
      }
      items[i] = tool
    }
    return items
  }

  /// The system text with the tools described below it.
  static func systemText(_ system: String?, tools: [JSONValue]) -> String {
    let list = tools.map(\.pythonText).joined(separator: "\n")
    return (system ?? "") + """


      # Tools

      You may call one or more functions to assist with the user query.

      You are provided with function signatures within <tools></tools> XML tags:
      <tools>
      \(list)
      </tools>

      For each function call, return a json object with function name and arguments within \
      <tool_call></tool_call> XML tags:
      <tool_call>
      {"name": <function-name>, "arguments": <args-json-object>}
      </tool_call>
      """
  }

  /// Text of one call. The content is JSON with `name` and `arguments` or `parameters`.
  /// - Throws: DATA-202 naming the message.
  func call(_ content: String, index: Int) throws(Fault) -> String {
    let place = "messages[\(index)]"
    let value = try parse(content, what: "tool_call content", place: place + ": ")
    guard let name = value["name"] else {
      throw bad(
        "\(place): tool_call content has no \"name\"",
        fix: "write {\"name\": ..., \"arguments\": {...}}")
    }
    func given(_ key: String) -> JSONValue? { value[key].flatMap { $0.isNull ? nil : $0 } }
    guard var arguments = given("arguments") ?? given("parameters") else {
      throw bad(
        "\(place): tool_call content has no \"arguments\"",
        fix: "write {\"name\": ..., \"arguments\": {...}}")
    }
    if let text = arguments.string {
      arguments = try parse(text, what: "the \"arguments\" of tool_call", place: place + ": ")
    }
    let call = JSONObject([("name", name), ("arguments", arguments)])
    return "<tool_call>\n\(JSONValue.object(call).pythonText)\n</tool_call>"
  }

  /// Text of the results of one round.
  static func results(_ contents: [String]) -> String {
    contents.map { "<tool_response>\n\($0)\n</tool_response>" }.joined(separator: "\n")
  }

  /// JSON, or else a literal as Python writes it.
  private func parse(
    _ text: String, what: String, place: String = ""
  ) throws(Fault) -> JSONValue {
    let reason: String
    do {
      return try JSONValue.parse(text)
    } catch {
      reason = error.reason
    }
    if let value = PythonLiteral.parse(text) { return value }
    throw bad(
      "\(place)\(what) is not valid JSON (\(reason))",
      fix: "write it with json.dumps, as one string")
  }
}
