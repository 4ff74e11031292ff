import CFetch
import Foundation
import Support

/// Sends requests of one hub, again where that may help.
struct HTTPClient: Sendable {
  let settings: HubSettings
  let service: HubService

  /// Most bytes of an answer that is kept in memory.
  static let answerLimit = 256 << 20
  private static let redirects = 6
  private static let longestWait = 30.0

  /// Where the body of an answer goes.
  struct Target {
    let file: Int32
    let start: Int
    let limit: Int
  }

  /// Sends a request until it is answered.
  /// - Throws: the fault of `explain` for an answer that is no success, `HUB-101`, `RUN-104`.
  func send(_ request: HTTPRequest, _ what: String) throws(Fault) -> HTTPAnswer {
    try repeating(what) { () throws(HTTPFailure) in try once(request) }
  }

  /// Calls `body` until it succeeds, with waits that double.
  /// - Parameter gotOn: whether the failed attempt brought something; it does not count then.
  func repeating<R>(
    _ what: String, gotOn: () -> Bool = { false }, _ body: () throws(HTTPFailure) -> R
  ) throws(Fault) -> R {
    var failures = 0
    var wait = 0.5
    while true {
      do throws(HTTPFailure) {
        return try body()
      } catch {
        if gotOn() { (failures, wait) = (0, 0.5) }
        failures += 1
        // Where nobody is there, nobody will be there in a moment.
        let most = error.cause == .noHost ? min(3, settings.attempts) : settings.attempts
        guard error.isPassing, failures < most else { throw explain(error, what) }
        if settings.isStopped() { throw Fault(.stopped, "stopped: \(what)") }
        settings.pause(min(error.wait ?? wait, Self.longestWait))
        wait = min(2 * wait, Self.longestWait)
      }
    }
  }

  /// One attempt; redirects of readers are followed, without the token where they leave the hub.
  func once(_ request: HTTPRequest, into target: Target? = nil) throws(HTTPFailure) -> HTTPAnswer {
    guard var address = WebAddress(request.address),
      let hub = WebAddress(settings.endpoint(service))
    else { throw HTTPFailure(cause: .failed, words: "the address cannot be used") }
    for _ in 0..<Self.redirects {
      let answer = try exchange(request, address, hub, target)
      guard [301, 302, 303, 307, 308].contains(answer.status) else {
        return try judged(answer)
      }
      guard let place = answer.headers["location"], let next = address.following(place),
        !(address.scheme == "https" && next.scheme == "http"),
        request.method == .get || next.hasOrigin(of: address)
      else { throw HTTPFailure(cause: .failed, words: "the server redirects to a refused address") }
      address = next
    }
    throw HTTPFailure(cause: .failed, words: "the server redirects without end")
  }

  private func judged(_ answer: HTTPAnswer) throws(HTTPFailure) -> HTTPAnswer {
    guard !answer.isGood else { return answer }
    let text =
      answer.headers["x-error-message"]
      ?? Self.message(in: answer.body)
      ?? String(decoding: answer.body.prefix(300), as: UTF8.self)
    throw HTTPFailure(
      cause: .status(answer.status), words: text,
      wait: answer.headers["retry-after"].flatMap { Double($0) })
  }

  private static func message(in body: [UInt8]) -> String? {
    let value = body.withUnsafeBytes { raw in try? JSONValue.parse(raw) }
    return value?["error"]?.string ?? value?["Message"]?.string ?? value?["message"]?.string
  }

  private func mayShowToken(
    _ request: HTTPRequest, _ address: WebAddress, _ hub: WebAddress
  ) -> Bool {
    guard !address.isOpen else { return false }
    switch request.access {
    case .nobody: return false
    case .hub: return address.hasOrigin(of: hub)
    case .site: return address.isInSite(of: hub)
    }
  }

  private func exchange(
    _ request: HTTPRequest, _ address: WebAddress, _ hub: WebAddress, _ target: Target?
  ) throws(HTTPFailure) -> HTTPAnswer {
    var lines = request.headers.map { "\($0.name): \($0.value)" }
    if let token = settings.tokens[service], mayShowToken(request, address, hub) {
      lines.append("Authorization: Bearer \(token.reveal())")
      if service == .modelScope { lines.append("Cookie: m_session_id=\(token.reveal())") }
    }
    var outgoing = cfetch_request()
    outgoing.body_file = -1
    outgoing.file = target?.file ?? -1
    outgoing.file_start = Int64(target?.start ?? 0)
    outgoing.file_limit = Int64(target?.limit ?? 0)
    outgoing.connect_seconds = settings.connectSeconds
    outgoing.stall_seconds = settings.stallSeconds
    outgoing.limit = Self.answerLimit
    outgoing.stopped = { SignalFlags.current.isDisjoint(with: [.stop, .stopNow]) ? 0 : 1 }
    var content: [UInt8] = []
    var file: PosixFile?
    switch request.body {
    case .none: break
    case .bytes(let bytes):
      content = bytes
      outgoing.body_count = bytes.count
    case .file(let opened, let start, let count):
      file = opened
      outgoing.body_start = Int64(start)
      outgoing.body_count = count
    }
    var answer = cfetch_answer()
    defer { cfetch_free(&answer) }
    let code = Self.call(
      &outgoing, request.method.rawValue, address.text, lines, content, file, &answer)
    guard code == CFETCH_OK else { throw Self.failure(code, answer) }
    return HTTPAnswer(
      status: answer.status, headerLines: answer.header.map { String(cString: $0) } ?? "",
      body: Array(UnsafeBufferPointer(start: answer.bytes, count: answer.count)))
  }

  private static func call(
    _ outgoing: inout cfetch_request, _ method: String, _ address: String, _ lines: [String],
    _ content: [UInt8], _ file: PosixFile?, _ answer: inout cfetch_answer
  ) -> cfetch_code {
    let headers = lines.map { strdup($0) }
    defer { for header in headers { free(header) } }
    let pointers = headers.map { UnsafePointer<CChar>($0) }
    return method.withCString { method in
      address.withCString { address in
        pointers.withUnsafeBufferPointer { pointers in
          content.withUnsafeBufferPointer { content in
            outgoing.method = method
            outgoing.address = address
            outgoing.headers = pointers.baseAddress
            outgoing.header_count = pointers.count
            outgoing.body = content.baseAddress
            guard let file else { return cfetch_send(&outgoing, &answer) }
            return file.withDescriptor { descriptor in
              outgoing.body_file = descriptor
              return cfetch_send(&outgoing, &answer)
            }
          }
        }
      }
    }
  }

  private static func failure(_ code: cfetch_code, _ answer: cfetch_answer) -> HTTPFailure {
    let note = withUnsafeBytes(of: answer.note) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    switch code {
    case CFETCH_TIME: return HTTPFailure(cause: .cut, words: "no answer in time (\(note))")
    case CFETCH_NO_HOST: return HTTPFailure(cause: .noHost, words: note)
    case CFETCH_UNTRUSTED: return HTTPFailure(cause: .untrusted, words: note)
    case CFETCH_CUT: return HTTPFailure(cause: .cut, words: note)
    case CFETCH_TOO_LARGE:
      return HTTPFailure(cause: .tooLarge, words: "the answer is larger than announced")
    case CFETCH_STOPPED: return HTTPFailure(cause: .stopped, words: note)
    case CFETCH_NO_DISK:
      return HTTPFailure(cause: .noDisk, words: systemMessage(answer.error))
    default: return HTTPFailure(cause: .failed, words: note)
    }
  }

  /// The failure as the user sees it.
  func explain(_ failure: HTTPFailure, _ what: String) -> Fault {
    let place = settings.endpoint(service)
    switch failure.cause {
    case .stopped: return Fault(.stopped, "stopped: \(what)")
    case .noDisk:
      return Fault(
        .cannotWrite, "\(what): cannot write: \(failure.words)", fix: "make room, then start again")
    case .status(401), .status(403):
      return Fault(
        .hubDenied, "\(what): \(service.title) says no", found: failure.words,
        fix: settings.tokens[service] == nil
          ? "give a token: --hub_token_file, or the variable "
            + (service == .huggingFace ? "HF_TOKEN" : "MODELSCOPE_API_TOKEN")
          : "give a token that may do this, and accept the terms of the repository on its page")
    case .status(404):
      return Fault(
        .notInHub, "\(what): \(service.title) has nothing of that name", found: failure.words,
        fix: "mend the name or the revision; --use_hf picks the hub; private ones need a token")
    case .status(let code):
      return Fault(
        .badHubAnswer, "\(what): \(place) answers with status \(code)", found: failure.words)
    case .untrusted:
      return Fault(
        .hubUnreachable, "\(what): the certificate of \(place) is not valid", found: failure.words,
        fix: "name the authorities of your site with SSL_CERT_FILE")
    case .noHost, .cut, .tooLarge, .failed:
      return Fault(
        .hubUnreachable, "\(what): \(place) cannot be reached", found: failure.words,
        fix: "check the network and the proxy, or download where there is one and name the folder")
    }
  }
}
