import DataPipeline
import Foundation
import Support

/// The body of `POST /v1/chat/completions`, read and checked. Members that would change the answer
/// and are not honoured are refused.
struct ChatCompletion: Equatable {
  var request: InferRequest
  var config = RequestConfig()
  var model: String?
  var isStreamed = false
  /// The last event of a stream tells the usage.
  var includesUsage = false

  /// What is wrong with a body.
  struct Problem: Error, Equatable {
    let message: String
    /// The member it is about.
    let member: String?
  }

  init(_ json: JSONValue) throws(Problem) {
    guard json.object != nil else {
      throw Problem(message: "the body must be a JSON object, not \(json.kind)", member: nil)
    }
    let body = Members(json)
    guard let list = json["messages"]?.array, !list.isEmpty else {
      throw Problem(
        message: "messages must be a list with at least one message", member: "messages")
    }
    request = InferRequest(messages: [])
    for (i, message) in list.enumerated() { try add(message, at: i) }
    if let tools = json["tools"], !tools.isNull {
      guard tools.array != nil else {
        throw Problem(message: "tools must be a list", member: "tools")
      }
      request.tools = json["tool_choice"]?.string == "none" ? nil : tools
    }
    model = try body.string("model")
    isStreamed = try body.bool("stream") ?? false
    includesUsage = json["stream_options"]?["include_usage"]?.bool ?? false
    try readConfig(body)
    try Self.refuse(body)
  }

  private mutating func readConfig(_ body: Members) throws(Problem) {
    config.maxTokens = try body.int("max_completion_tokens", 1...Int(Int32.max))
    if config.maxTokens == nil { config.maxTokens = try body.int("max_tokens", 1...Int(Int32.max)) }
    config.temperature = try body.number("temperature", 0...100)
    config.topP = try body.number("top_p", 0...1)
    config.topK = try body.int("top_k", -1...Int(Int32.max))
    config.repetitionPenalty = try body.number("repetition_penalty", 0.01...100)
    config.seed = try body.int("seed", Int.min...Int.max)
    config.n = try body.int("n", 1...16) ?? 1
    config.logprobs = try body.bool("logprobs") ?? false
    config.topLogprobs = try body.int("top_logprobs", 0...20) ?? 0
    if config.topLogprobs > 0, !config.logprobs {
      throw Problem(message: "top_logprobs needs logprobs true", member: "top_logprobs")
    }
    guard let stop = body.json["stop"], !stop.isNull else { return }
    let words = stop.string.map { [$0] } ?? stop.array?.compactMap(\.string) ?? []
    let count = stop.array?.count ?? 1
    guard words.count == count, count <= 16,
      words.allSatisfy({ !$0.isEmpty && $0.utf8.count <= 256 })
    else {
      throw Problem(
        message: "stop must be a text or up to 16 texts of 1 to 256 bytes", member: "stop")
    }
    config.stop = words
  }

  /// Settings of the interface that this engine does not have.
  private static func refuse(_ body: Members) throws(Problem) {
    for name in ["frequency_penalty", "presence_penalty"] {
      if let value = try body.number(name, -2...2), value != 0 {
        throw Problem(message: "\(name) is not supported; use repetition_penalty", member: name)
      }
    }
    if let bias = body.json["logit_bias"]?.object, !bias.isEmpty {
      throw Problem(message: "logit_bias is not supported", member: "logit_bias")
    }
    if let format = body.json["response_format"], !format.isNull, format["type"]?.string != "text" {
      throw Problem(message: "response_format must be text", member: "response_format")
    }
  }

  private mutating func add(_ message: JSONValue, at i: Int) throws(Problem) {
    func problem(_ what: String) -> Problem {
      Problem(message: "messages[\(i)]\(what)", member: "messages")
    }
    let roles = ["system", "developer", "user", "assistant", "tool"]
    guard let role = message["role"]?.string, roles.contains(role) else {
      throw problem(".role must be one of \(roles.joined(separator: ", "))")
    }
    var text = ""
    switch message["content"] {
    case .string(let content)?: text = content
    case .array(let parts)?:
      for part in parts { text += try self.text(of: part, problem) }
    case nil, .null?:
      guard role == "assistant", message["tool_calls"] != nil else {
        throw problem(".content is missing")
      }
    default: throw problem(".content must be a text or a list of parts")
    }
    let calls = message["tool_calls"]?.array ?? []
    if !text.isEmpty || calls.isEmpty {
      request.messages.append(.init(role: role == "developer" ? "system" : role, content: text))
    }
    for call in calls {
      guard let name = call["function"]?["name"]?.string,
        let arguments = call["function"]?["arguments"]
      else { throw problem(".tool_calls must hold functions with name and arguments") }
      let content = JSONObject([("name", .string(name)), ("arguments", arguments)])
      request.messages.append(
        .init(role: "tool_call", content: JSONValue.object(content).write(.python)))
    }
  }

  private mutating func text(of part: JSONValue, _ problem: (String) -> Problem) throws(Problem)
    -> String
  {
    switch part["type"]?.string {
    case "text":
      guard let text = part["text"]?.string else { throw problem(": a text part has no text") }
      return text
    case "image_url":
      guard let url = part["image_url"]?["url"]?.string ?? part["image_url"]?.string else {
        throw problem(": an image_url part has no url")
      }
      request.images.append(url)
      return "<image>"
    case "video_url":
      guard let url = part["video_url"]?["url"]?.string ?? part["video_url"]?.string else {
        throw problem(": a video_url part has no url")
      }
      request.videos.append(url)
      return "<video>"
    default: throw problem(": a part must be of type text, image_url or video_url")
    }
  }

  /// Typed members of the body.
  private struct Members {
    let json: JSONValue
    init(_ json: JSONValue) { self.json = json }

    private func value(_ name: String) -> JSONValue? {
      json[name].flatMap { $0.isNull ? nil : $0 }
    }
    private func wrong(_ name: String, _ expected: String) -> Problem {
      Problem(message: "\(name) must be \(expected)", member: name)
    }
    func string(_ name: String) throws(Problem) -> String? {
      guard let value = value(name) else { return nil }
      guard let text = value.string else { throw wrong(name, "a text") }
      return text
    }
    func bool(_ name: String) throws(Problem) -> Bool? {
      guard let value = value(name) else { return nil }
      guard let flag = value.bool else { throw wrong(name, "true or false") }
      return flag
    }
    func int(_ name: String, _ range: ClosedRange<Int>) throws(Problem) -> Int? {
      guard let value = value(name) else { return nil }
      guard let number = value.int, range.contains(number) else {
        throw wrong(name, "a whole number from \(range.lowerBound) to \(range.upperBound)")
      }
      return number
    }
    func number(_ name: String, _ range: ClosedRange<Double>) throws(Problem) -> Double? {
      guard let value = value(name) else { return nil }
      guard let number = value.double, range.contains(number) else {
        throw wrong(name, "a number from \(range.lowerBound) to \(range.upperBound)")
      }
      return number
    }
  }
}

/// Cuts an answer before the first of its stop texts: text that may be the beginning of one waits.
struct StopCut {
  let words: [String]
  private var held = ""
  private(set) var isCut = false

  init(_ words: [String]) { self.words = words }

  mutating func add(_ text: String) -> String {
    guard !isCut, !words.isEmpty else { return isCut ? "" : text }
    held += text
    let places = words.compactMap { held.range(of: $0)?.lowerBound }
    if let first = places.min() {
      isCut = true
      defer { held = "" }
      return String(held[..<first])
    }
    let longest = words.map(\.count).max() ?? 0
    var keep = min(longest - 1, held.count)
    while keep > 0, !words.contains(where: { $0.hasPrefix(held.suffix(keep)) }) { keep -= 1 }
    defer { held = String(held.suffix(keep)) }
    return String(held.dropLast(keep))
  }

  mutating func finish() -> String {
    defer { held = "" }
    return isCut ? "" : held
  }
}
