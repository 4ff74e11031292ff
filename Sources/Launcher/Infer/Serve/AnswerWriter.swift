import Support

/// The texts of answers in the form of the published HTTP interface.
struct CompletionText {
  let id: String
  let created: Int
  let model: String

  private func object(_ kind: String, _ rest: [(key: String, value: JSONValue)]) -> JSONValue {
    .object(
      JSONObject(
        [
          ("id", .string(id)), ("object", .string(kind)), ("created", JSONValue(created)),
          ("model", .string(model)),
        ] + rest))
  }

  static func usage(_ usage: InferResponse.Usage) -> JSONValue {
    .object(
      JSONObject([
        ("prompt_tokens", JSONValue(usage.promptTokens)),
        ("completion_tokens", JSONValue(usage.completionTokens)),
        ("total_tokens", JSONValue(usage.totalTokens)),
      ]))
  }

  private static func logprobs(_ list: [TokenLogprob]?) -> JSONValue {
    list.map { .object(JSONObject([("content", .array($0.map(\.json)))])) } ?? .null
  }

  func whole(_ response: InferResponse) -> JSONValue {
    let choices = response.choices.map { choice in
      JSONValue.object(
        JSONObject([
          ("index", JSONValue(choice.index)),
          (
            "message",
            .object(
              JSONObject([
                ("role", .string("assistant")), ("content", .string(choice.message.content)),
              ]))
          ),
          ("logprobs", Self.logprobs(choice.logprobs)),
          ("finish_reason", .string(choice.finishReason.rawValue)),
        ]))
    }
    return object(
      "chat.completion",
      [("choices", .array(choices)), ("usage", Self.usage(response.usage))])
  }

  /// A piece of one choice; the first one names the role.
  func piece(
    index: Int, text: String, isFirst: Bool, logprobs: [TokenLogprob]?, finish: FinishReason?
  ) -> JSONValue {
    var delta = JSONObject()
    if isFirst { delta["role"] = .string("assistant") }
    delta["content"] = .string(text)
    let choice = JSONObject([
      ("index", JSONValue(index)), ("delta", .object(delta)), ("logprobs", Self.logprobs(logprobs)),
      ("finish_reason", finish.map { .string($0.rawValue) } ?? .null),
    ])
    return object("chat.completion.chunk", [("choices", .array([.object(choice)]))])
  }

  func usagePiece(_ usage: InferResponse.Usage) -> JSONValue {
    object("chat.completion.chunk", [("choices", .array([])), ("usage", Self.usage(usage))])
  }

  static func error(_ message: String, type: String, member: String? = nil, code: String? = nil)
    -> JSONValue
  {
    .object(
      JSONObject([
        (
          "error",
          .object(
            JSONObject([
              ("message", .string(message)), ("type", .string(type)),
              ("param", member.map { .string($0) } ?? .null),
              ("code", code.map { .string($0) } ?? .null),
            ]))
        )
      ]))
  }
}
