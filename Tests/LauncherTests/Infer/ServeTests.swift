import Foundation
import Glibc
import Support
import Testing

@testable import Launcher

@Suite("HTTP face: reading requests")
struct HTTPParsingTests {
  @Test("Request line and headers are taken apart")
  func head() throws {
    let request = try HTTPReader.parse(
      Array("POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nCONTENT-Length:  12 ".utf8))
    #expect(request.method == "POST" && request.path == "/v1/x" && request.keepsAlive)
    #expect(request.headers == ["host": "a", "content-length": "12"])
  }

  @Test(
    "What is no request is refused with a status of the client",
    arguments: [
      "", "GET /", "get / HTTP/1.1", "GET x HTTP/1.1", "GET / FTP/1.0", "GET / HTTP/1.1\r\nnocolon",
      "GET / HTTP/1.1\r\nA b: c", "GET / HTTP/1.1\r\n: c",
      "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2",
    ])
  func malformed(head: String) {
    #expect(throws: HTTPRefusal.self) { try HTTPReader.parse(Array(head.utf8)) }
  }

  private func problem(_ text: String) throws -> String? {
    let json = try JSONValue.parse(text)
    do {
      _ = try ChatCompletion(json)
      return nil
    } catch {
      return error.member ?? "body"
    }
  }

  @Test("Members of wrong types and values are named")
  func members() throws {
    let fine = #""messages": [{"role": "user", "content": "a"}]"#
    #expect(try problem("{\(fine)}") == nil)
    #expect(try problem("[]") == "body")
    #expect(try problem("{}") == "messages")
    #expect(try problem(#"{"messages": []}"#) == "messages")
    #expect(try problem(#"{"messages": [{"role": "judge", "content": "a"}]}"#) == "messages")
    #expect(try problem(#"{"messages": [{"role": "user", "content": 3}]}"#) == "messages")
    #expect(try problem(#"{"messages": [{"role": "user"}]}"#) == "messages")
    for (member, value) in [
      ("temperature", "-1"), ("temperature", "\"hot\""), ("top_p", "2"), ("max_tokens", "0"),
      ("max_tokens", "1.5"), ("n", "99"), ("stop", "[1]"), ("stop", "\"\""), ("seed", "\"x\""),
      ("stream", "1"), ("top_logprobs", "3"), ("frequency_penalty", "1"),
      ("logit_bias", "{\"1\": 2}"), ("response_format", "{\"type\": \"json_object\"}"),
    ] {
      #expect(try problem("{\(fine), \"\(member)\": \(value)}") == member, "\(member) \(value)")
    }
  }

  @Test("Parts of text and pictures become one text with tags")
  func parts() throws {
    let call = try ChatCompletion(
      try JSONValue.parse(
        #"""
        {"messages": [{"role": "developer", "content": "S"}, {"role": "user", "content": [
          {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
          {"type": "text", "text": "What?"}]}], "max_tokens": 5, "stop": "x", "seed": 7}
        """#))
    #expect(call.request.messages.map(\.content) == ["S", "<image>What?"])
    #expect(call.request.messages[0].role == "system")
    #expect(call.request.images == ["data:image/png;base64,AA"])
    #expect(call.config.maxTokens == 5 && call.config.stop == ["x"] && call.config.seed == 7)
  }

  @Test("Calls of tools become messages of their own")
  func tools() throws {
    let call = try ChatCompletion(
      try JSONValue.parse(
        #"""
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null,
          "tool_calls": [{"id": "1", "type": "function",
            "function": {"name": "f", "arguments": "{\"a\": 1}"}}]},
          {"role": "tool", "tool_call_id": "1", "content": "r"}]}
        """#))
    #expect(call.request.messages.map(\.role) == ["user", "tool_call", "tool"])
    #expect(call.request.messages[1].content == #"{"name": "f", "arguments": "{\"a\": 1}"}"#)
  }

  @Test("Stop texts are cut off, also when they come in pieces")
  func stopCut() {
    var cut = StopCut(["END", "##"])
    #expect(cut.add("abcE") == "abc")
    #expect(cut.add("Nx") == "ENx")
    #expect(cut.add("y#") == "y")
    #expect(cut.add("#z") == "")
    #expect(cut.isCut && cut.add("more") == "" && cut.finish() == "")
    var open = StopCut(["END"])
    #expect(open.add("EN") == "")
    #expect(open.finish() == "EN")
  }
}

/// A tiny model served in this process.
private final class Served {
  let engine: InferEngine
  let port: Int
  private let server: ChatServer

  init(_ kind: TinyModel.Kind = .dense, limits: HTTPLimits = HTTPLimits()) throws {
    let folder = try TemporaryFolder()
    try TinyModel.write(kind, to: folder.path + "/model")
    var options = InferEngine.Options()
    options.threads = 1
    engine = try InferEngine(model: folder.path + "/model", maxBatchSize: 8, options: options)
    let listener = try ListeningSocket(host: "127.0.0.1", port: 0)
    port = listener.port
    let server = ChatServer(
      service: engine.service, prompts: engine.prompts, model: "tiny", limits: limits,
      logger: Logger(level: .error))
    self.server = server
    let handed = Handed(listener: listener)
    Thread { server.serve(handed.listener) }.start()
  }

  private struct Handed: @unchecked Sendable { let listener: ListeningSocket }
  deinit {
    server.stop()
    engine.close()
  }

  /// Sends bytes and reads until the peer closes.
  func exchange(_ bytes: [UInt8], finishes: Bool = false) -> String {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
    let socket = Socket(Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
    _ = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket.descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    _ = socket.send(bytes)
    if finishes { shutdown(socket.descriptor, Int32(SHUT_WR)) }
    var all: [UInt8] = []
    while case .bytes(let bytes) = socket.receive(limit: 65536, seconds: 20) { all += bytes }
    return String(decoding: all, as: UTF8.self)
  }

  func post(
    _ body: String, path: String = "/v1/chat/completions", type: String = "application/json"
  )
    -> (status: Int, body: String)
  {
    let text =
      "POST \(path) HTTP/1.1\r\nHost: x\r\nContent-Type: \(type)\r\nConnection: close\r\n"
      + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
    return Self.parts(exchange(Array(text.utf8)))
  }

  static func parts(_ answer: String) -> (status: Int, body: String) {
    let words = answer.split(separator: " ", maxSplits: 2)
    let status = words.count > 1 ? Int(words[1]) ?? 0 : 0
    let body = answer.range(of: "\r\n\r\n").map { String(answer[$0.upperBound...]) } ?? ""
    return (status, body)
  }
}

@Suite("HTTP face: answers", .serialized)
struct ServeTests {
  private func body(_ text: String, _ more: String = "") -> String {
    #"{"model": "tiny", "messages": [{"role": "user", "content": "\#(text)"}], "max_tokens": 9, "#
      + #""temperature": 0\#(more)}"#
  }

  /// The texts of a stream put together, and its last finish reason.
  private func streamed(_ body: String) -> (text: String, finish: String?, ended: Bool) {
    var text = ""
    var finish: String?
    for line in body.split(whereSeparator: \.isNewline) where line.hasPrefix("data: {") {
      guard let json = try? JSONValue.parse(String(line.dropFirst(6))),
        let choice = json["choices"]?.array?.first
      else { continue }
      text += choice["delta"]?["content"]?.string ?? ""
      finish = choice["finish_reason"]?.string ?? finish
    }
    return (text, finish, body.contains("data: [DONE]"))
  }

  @Test("Whole and streamed answers have the same text, and usage adds up")
  func answers() throws {
    let served = try Served()
    let (status, whole) = served.post(body("Hello"))
    #expect(status == 200)
    let json = try JSONValue.parse(whole)
    let choice = json["choices"]?.array?.first
    let text = choice?["message"]?["content"]?.string ?? ""
    #expect(!text.isEmpty)
    let usage = json["usage"]
    #expect(
      (usage?["prompt_tokens"]?.int ?? 0) + (usage?["completion_tokens"]?.int ?? 0)
        == usage?["total_tokens"]?.int)
    let stream = streamed(served.post(body("Hello", #", "stream": true"#)).body)
    #expect(stream.text == text && stream.ended)
    #expect(stream.finish == choice?["finish_reason"]?.string)
    let two = served.post(
      body("Hello", #", "n": 2, "logprobs": true, "top_logprobs": 2"#)
    ).body
    let choices = try JSONValue.parse(two)["choices"]?.array ?? []
    #expect(choices.count == 2)
    #expect(choices.allSatisfy { $0["message"]?["content"]?.string == text })
    let logprobs = choices.first?["logprobs"]?["content"]?.array ?? []
    #expect(logprobs.first?["top_logprobs"]?.array?.count == 2)
  }

  @Test("Models are listed, and other paths and methods are refused")
  func paths() throws {
    let served = try Served()
    func get(_ path: String, method: String = "GET") -> (status: Int, body: String) {
      Served.parts(
        served.exchange(
          Array("\(method) \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".utf8)))
    }
    #expect(
      try JSONValue.parse(get("/v1/models").body)["data"]?.array?.first?["id"]?.string == "tiny")
    #expect(get("/v1/models/tiny").status == 200)
    #expect(get("/v1/models/other").status == 404)
    #expect(get("/../etc/passwd").status == 404)
    #expect(get("/v1/chat/completions").status == 405)
    #expect(get("/health").status == 200)
  }

  @Test("Malformed requests get a status of the client and the server goes on")
  func malformed() throws {
    var limits = HTTPLimits()
    limits.bodyBytes = 4096
    limits.seconds = 0.5
    let served = try Served(limits: limits)
    #expect(served.post("{").status == 400)
    #expect(served.post("[1]").status == 400)
    #expect(served.post(String(repeating: "[", count: 1000)).status == 400)
    #expect(served.post(body("x"), type: "text/plain").status == 415)
    #expect(
      served.post(#"{"model": "other", "messages": [{"role": "user", "content": "x"}]}"#).status
        == 404)
    #expect(served.post(body(String(repeating: "x", count: 3000))).status == 400)  // too long
    #expect(served.post(String(repeating: " ", count: 5000)).status == 413)
    let image = #"[{"type": "image_url", "image_url": {"url": "data:,"}}]"#
    #expect(served.post(#"{"messages": [{"role": "user", "content": \#(image)}]}"#).status == 400)
    #expect(Served.parts(served.exchange(Array("nonsense\r\n\r\n".utf8))).status == 400)
    let half = "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 50\r\n\r\n{"
    #expect(Served.parts(served.exchange(Array(half.utf8))).status == 408)
    #expect(Served.parts(served.exchange(Array(half.utf8), finishes: true)).status == 400)
    let long = "GET / HTTP/1.1\r\nA: " + String(repeating: "b", count: 40000)
    #expect(Served.parts(served.exchange(Array(long.utf8))).status == 431)
    #expect(served.post(body("still there?")).status == 200)
    #expect(served.engine.service.openJobs == 0)
  }

  @Test("Fifty requests at once each get the answer they get alone")
  func concurrent() async throws {
    let served = try Served(.moe)
    let questions = (0..<50).map { "Question \($0 % 7)" }
    let alone = (0..<7).map { served.post(body("Question \($0)")).body }.map(text)
    #expect(Set(alone).count > 1)
    let handed = Box(served)
    let answers = await withTaskGroup(of: (Int, String).self) { group in
      for (i, question) in questions.enumerated() {
        let request = body(question)
        group.addTask {
          await withCheckedContinuation { continuation in
            Thread { continuation.resume(returning: (i, handed.value.post(request).body)) }.start()
          }
        }
      }
      return await group.reduce(into: [Int: String]()) { $0[$1.0] = $1.1 }
    }
    for i in questions.indices { #expect(text(answers[i] ?? "") == alone[i % 7], "\(i)") }
  }

  private struct Box: @unchecked Sendable {
    let value: Served
    init(_ value: Served) { self.value = value }
  }

  private func text(_ body: String) -> String {
    (try? JSONValue.parse(body))?["choices"]?.array?.first?["message"]?["content"]?.string ?? body
  }
}
