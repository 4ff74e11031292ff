import Foundation
import Support
import Synchronization

/// The HTTP face of a model: `GET /v1/models`, `POST /v1/chat/completions`, `GET /health`.
///
/// One thread per connection; the thread of the engine answers all of them side by side.
final class ChatServer: Sendable {
  let service: GenerationService
  let prompts: PromptBuilder
  /// Name under which the model is served.
  let model: String
  let limits: HTTPLimits
  let logger: Logger
  private let started = Int(Clock.wallSeconds())
  private let connections = Mutex(0)
  private let calls = Mutex(0)
  private let stopping = Mutex(false)

  /// Connections at a time; further ones are told to come again.
  static let maxConnections = 512
  /// Nesting of a body.
  static let maxDepth = 64

  init(
    service: GenerationService, prompts: PromptBuilder, model: String,
    limits: HTTPLimits = HTTPLimits(), logger: Logger
  ) {
    self.service = service
    self.prompts = prompts
    self.model = model
    self.limits = limits
    self.logger = logger
  }

  /// Takes connections until `stop`, on the calling thread.
  func serve(_ listener: ListeningSocket) {
    while !stopping.withLock({ $0 }) {
      guard let socket = listener.accept(seconds: 0.25) else { continue }
      let isFull = connections.withLock { count in
        guard count < Self.maxConnections else { return true }
        count += 1
        return false
      }
      if isFull {
        _ = HTTPWriter(socket: socket).send(
          503, CompletionText.error("too many connections", type: "server_error"),
          keepsAlive: false, headers: ["Retry-After: 1"])
        continue
      }
      let handed = Handed(socket)
      let thread = Thread { [self] in
        converse(handed.socket)
        connections.withLock { $0 -= 1 }
      }
      thread.stackSize = 2 << 20
      thread.start()
    }
  }

  func stop() { stopping.withLock { $0 = true } }

  /// A socket on its way from one thread to the next; unchecked, because the giver lets go of it.
  private struct Handed: @unchecked Sendable {
    let socket: Socket
    init(_ socket: Socket) { self.socket = socket }
  }

  /// Requests of one connection, one after another.
  func converse(_ socket: Socket) {
    var reader = HTTPReader(socket, limits: limits)
    let writer = HTTPWriter(socket: socket)
    while !stopping.withLock({ $0 }) {
      do throws(HTTPRefusal) {
        guard let request = try reader.next() else { return }
        guard answer(request, writer) else { return }
      } catch {
        _ = writer.send(
          error.status, CompletionText.error(error.reason, type: "invalid_request_error"),
          keepsAlive: false)
        return
      }
    }
  }

  /// - Returns: whether the connection can go on.
  private func answer(_ request: HTTPRequest, _ writer: HTTPWriter) -> Bool {
    func send(_ status: Int, _ json: JSONValue, _ headers: [String] = []) -> Bool {
      writer.send(status, json, keepsAlive: request.keepsAlive, headers: headers)
        && request.keepsAlive
    }
    func refuse(_ status: Int, _ text: String, code: String? = nil, _ headers: [String] = [])
      -> Bool
    {
      send(
        status, CompletionText.error(text, type: "invalid_request_error", code: code), headers)
    }
    let allowed: String
    switch request.path {
    case "/health":
      if request.method == "GET" {
        return send(200, .object(JSONObject([("status", .string("ok"))])))
      }
      allowed = "GET"
    case "/v1/models":
      if request.method == "GET" { return send(200, modelList) }
      allowed = "GET"
    case "/v1/models/" + model:
      if request.method == "GET" { return send(200, modelEntry) }
      allowed = "GET"
    case "/v1/chat/completions":
      if request.method == "POST" { return complete(request, writer, refuse) }
      allowed = "POST"
    default: return refuse(404, "there is nothing at this path", code: "not_found")
    }
    return refuse(405, "this path takes \(allowed)", ["Allow: \(allowed)"])
  }

  /// Clients give pictures as bytes: paths and addresses would open files of the server and of its
  /// network to them.
  private func refusal(of request: InferRequest) -> String? {
    let media = request.images + request.videos
    if !media.isEmpty, prompts.media == nil { return "the model reads text only" }
    if media.contains(where: { !$0.lowercased().hasPrefix("data:") }) {
      return "pictures and clips must be given as data: URLs with base64"
    }
    let inline = prompts.media != nil && request.messages.contains { $0.content.contains("<img>") }
    return inline ? "a text may not hold <img>; give the picture as a part" : nil
  }

  private var modelEntry: JSONValue {
    .object(
      JSONObject([
        ("id", .string(model)), ("object", .string("model")), ("created", JSONValue(started)),
        ("owned_by", .string("megatron-sft")),
      ]))
  }

  private var modelList: JSONValue {
    .object(JSONObject([("object", .string("list")), ("data", .array([modelEntry]))]))
  }

  private func complete(
    _ request: HTTPRequest, _ writer: HTTPWriter,
    _ refuse: (Int, String, String?, [String]) -> Bool
  ) -> Bool {
    if let type = request.headers["content-type"], !type.lowercased().hasPrefix("application/json")
    {
      return refuse(415, "the body must be application/json", nil, [])
    }
    let call: ChatCompletion
    do {
      let json = try request.body.withUnsafeBytes {
        try JSONValue.parse($0, maxDepth: Self.maxDepth)
      }
      call = try ChatCompletion(json)
    } catch let error as JSONSyntaxError {
      return refuse(400, "the body is not JSON: \(error)", nil, [])
    } catch let problem as ChatCompletion.Problem {
      return writer.send(
        400,
        CompletionText.error(
          problem.message, type: "invalid_request_error", member: problem.member),
        keepsAlive: request.keepsAlive) && request.keepsAlive
    } catch {
      return refuse(400, "the body cannot be read", nil, [])
    }
    if let name = call.model, name != model {
      return refuse(404, "the model \(name) is not served here; \(model) is", "model_not_found", [])
    }
    if let reason = refusal(of: call.request) { return refuse(400, reason, nil, []) }
    let number = calls.withLock { count in
      count += 1
      return count
    }
    logger.debug("request \(number): \(call.request.messages.count) messages")
    return CompletionCall(
      service: service, prompts: prompts, call: call,
      text: CompletionText(
        id: "chatcmpl-\(started)-\(number)", created: Int(Clock.wallSeconds()), model: model),
      writer: writer, keepsAlive: request.keepsAlive
    ).run()
  }
}
