import DataPipeline
import Support

/// A conversation to be continued. A last assistant message is left out of the prompt.
public struct InferRequest: Sendable, Equatable {
  /// One turn; `role` is system, user, assistant, tool_call, tool_response or tool.
  public struct Message: Sendable, Equatable {
    public var role: String
    public var content: String
    public init(role: String, content: String) {
      self.role = role
      self.content = content
    }
  }

  public var messages: [Message]
  /// Paths, URLs or `data:` texts, in the order of the `<image>` tags.
  public var images: [String] = []
  public var videos: [String] = []
  /// Tools the model may call, as JSON.
  public var tools: JSONValue?
  public var objects: JSONValue?

  public init(messages: [Message]) { self.messages = messages }

  /// A single question.
  public init(_ question: String) { self.init(messages: [.init(role: "user", content: question)]) }

  var row: StandardRow {
    var row = StandardRow(
      messages: messages.map { DataPipeline.Message(role: $0.role, content: $0.content) },
      source: .init(file: "request", line: 1))
    row.images = images.map { .string($0) }
    row.videos = videos.map { .string($0) }
    row.tools = tools
    row.objects = objects
    return row
  }
}

/// How an answer is made; what is nil comes from `generation_config.json` of the model.
public struct RequestConfig: Sendable, Equatable {
  /// nil: what the model's context leaves.
  public var maxTokens: Int?
  /// 0 takes the likeliest token.
  public var temperature: Double?
  public var topK: Int?
  public var topP: Double?
  public var repetitionPenalty: Double?
  /// Texts that end an answer; they stay in it.
  public var stop: [String] = []
  public var seed: Int?
  public var logprobs = false
  /// Give the log probabilities of this many likeliest tokens at every place too.
  public var topLogprobs = 0
  /// Answers to each request; those after the first have other seeds.
  public var n = 1

  public init() {}
}

/// An answer, in the field names of the published HTTP interface.
public struct InferResponse: Sendable, Equatable {
  public struct Choice: Sendable, Equatable {
    public var index: Int
    public var message: InferRequest.Message
    public var finishReason: FinishReason
    public var logprobs: [TokenLogprob]?
  }
  public struct Usage: Sendable, Equatable {
    public var promptTokens = 0
    public var completionTokens = 0
    public var totalTokens: Int { promptTokens + completionTokens }
    public init() {}
  }
  public var choices: [Choice]
  public var usage: Usage
}

/// The log probability of a generated token, and of the likeliest ones in its place.
public struct TokenLogprob: Sendable, Equatable {
  public var token: String
  public var bytes: [UInt8]
  public var logprob: Float
  public var likeliest: [TokenLogprob] = []

  /// As the published HTTP interface writes it.
  var json: JSONValue {
    func plain(_ t: TokenLogprob) -> [(key: String, value: JSONValue)] {
      [
        ("token", .string(t.token)), ("logprob", JSONValue(Double(t.logprob))),
        ("bytes", .array(t.bytes.map { JSONValue(Int($0)) })),
      ]
    }
    let top = likeliest.map { JSONValue.object(JSONObject(plain($0))) }
    return .object(JSONObject(plain(self) + [("top_logprobs", .array(top))]))
  }
}

/// A piece of an answer as it is made; the text may be empty.
public struct InferChunk: Sendable, Equatable {
  public struct Choice: Sendable, Equatable {
    public var index = 0
    public var delta: InferRequest.Message
    public var finishReason: FinishReason?
    public var logprobs: [TokenLogprob]?
  }
  public var choices: [Choice]
  /// With the last piece.
  public var usage: InferResponse.Usage?
}
