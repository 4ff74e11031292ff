import Foundation
import Support
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// What a client asked for.
public struct ServedRequest: Sendable {
  public let method: String
  /// Without the query.
  public let path: String
  public let query: [String: String]
  /// Names in small letters.
  public let headers: [String: String]
  public let body: [UInt8]
  /// The name the client called this server by, without the port.
  public var host: String { String((headers["host"] ?? "").prefix { $0 != ":" }) }
  /// Whether any header shows a token.
  public var showsToken: Bool { headers["authorization"] != nil || headers["cookie"] != nil }
}

/// What the server answers.
public struct ServedAnswer: Sendable {
  public var status: Int
  public var headers: [(String, String)]
  public var body: [UInt8]

  public init(_ status: Int = 200, headers: [(String, String)] = [], body: [UInt8] = []) {
    (self.status, self.headers, self.body) = (status, headers, body)
  }

  public init(_ json: JSONValue, status: Int = 200) {
    self.init(
      status, headers: [("Content-Type", "application/json")], body: Array(json.write().utf8))
  }
}

/// Answers requests on a port of this machine, each connection in a thread of its own.
final class HTTPServer: Sendable {
  /// How a connection is broken off.
  enum Drop: Sendable, Equatable {
    case no
    /// Nothing is answered, and what was asked is not done.
    case before
    /// Half of the body is sent.
    case half
    /// What was asked is done, and nothing answered.
    case after
  }

  let port: UInt16
  private let listener: Int32
  private let answer: @Sendable (ServedRequest) -> ServedAnswer
  private let drop: @Sendable (ServedRequest) -> Drop

  /// - Throws: `INT-001` when no port can be taken.
  init(
    port wanted: UInt16, drop: @escaping @Sendable (ServedRequest) -> Drop,
    answer: @escaping @Sendable (ServedRequest) -> ServedAnswer
  ) throws(Fault) {
    self.answer = answer
    self.drop = drop
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var one: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, 4)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = wanted.bigEndian
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, size) == 0 && listen(descriptor, 64) == 0
          && getsockname(descriptor, $0, &size) == 0
      }
    }
    guard isBound else { throw Fault(.internalError, "no port for a local server") }
    listener = descriptor
    port = UInt16(bigEndian: address.sin_port)
    let thread = Thread { [self] in accept() }
    thread.start()
  }

  func stop() { shutdown(listener, Int32(SHUT_RDWR)) }

  private func accept() {
    while true {
      let client = Glibc.accept(listener, nil, nil)
      guard client >= 0 else { break }
      let thread = Thread { [self] in
        if let request = Self.read(client) { serve(request, client) }
        close(client)
      }
      thread.start()
    }
    close(listener)
  }

  private func serve(_ request: ServedRequest, _ client: Int32) {
    let drop = drop(request)
    if drop == .before { return }
    let answer = answer(request)
    if drop == .after { return }
    var head = "HTTP/1.1 \(answer.status) Answer\r\nConnection: close\r\n"
    for (name, value) in answer.headers { head += "\(name): \(value)\r\n" }
    head += "Content-Length: \(answer.body.count)\r\n\r\n"
    let body = drop == .half ? Array(answer.body.prefix(answer.body.count / 2)) : answer.body
    Self.put(client, Array(head.utf8))
    Self.put(client, body)
    shutdown(client, Int32(SHUT_WR))
  }

  private static func put(_ client: Int32, _ bytes: [UInt8]) {
    var done = 0
    while done < bytes.count {
      let sent = bytes.withUnsafeBytes {
        send(client, $0.baseAddress.map { $0 + done }, bytes.count - done, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { return }
      done += sent
    }
  }

  private static func read(_ client: Int32) -> ServedRequest? {
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 16)
    func more() -> Bool {
      let count = recv(client, &part, part.count, 0)
      guard count > 0 else { return false }
      bytes += part.prefix(count)
      return true
    }
    let end = Array("\r\n\r\n".utf8)
    var split: Int?
    while split == nil, bytes.count < 1 << 20 {
      guard more() else { return nil }
      split = bytes.firstRange(of: end)?.lowerBound
    }
    guard let split else { return nil }
    let lines = String(decoding: bytes[..<split], as: UTF8.self).components(separatedBy: "\r\n")
    var headers: [String: String] = [:]
    for line in lines.dropFirst() {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2 else { continue }
      headers[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces)
    }
    let wanted = split + 4 + (Int(headers["content-length"] ?? "0") ?? 0)
    while bytes.count < wanted { guard more() else { return nil } }
    return request(lines[0], headers, Array(bytes[(split + 4)..<wanted]))
  }

  private static func request(
    _ line: String, _ headers: [String: String], _ body: [UInt8]
  ) -> ServedRequest? {
    let words = line.split(separator: " ")
    guard words.count == 3, let parts = URLComponents(string: String(words[1])) else { return nil }
    var query: [String: String] = [:]
    for item in parts.queryItems ?? [] { query[item.name] = item.value ?? "" }
    return ServedRequest(
      method: String(words[0]), path: parts.path, query: query, headers: headers, body: body)
  }
}
