import Support

/// A request of HTTP/1.1 with its body.
struct HTTPRequest: Equatable {
  var method: String
  /// Without the query.
  var path: String
  /// Names in lower case.
  var headers: [String: String]
  var body: [UInt8] = []
  var keepsAlive: Bool
}

/// Why a request cannot be read: the status to answer with.
struct HTTPRefusal: Error, Equatable {
  let status: Int
  let reason: String
}

/// Limits against requests that never end.
struct HTTPLimits: Sendable {
  var headerBytes = 32 << 10
  var bodyBytes = 64 << 20
  /// For a whole request to arrive.
  var seconds = 30.0
  /// Between requests of one connection.
  var idleSeconds = 60.0
}

/// Reads requests from a connection, one after another.
struct HTTPReader {
  let socket: Socket
  let limits: HTTPLimits
  private var buffer: [UInt8] = []

  init(_ socket: Socket, limits: HTTPLimits) {
    self.socket = socket
    self.limits = limits
  }

  /// - Returns: nil when the peer is done.
  /// - Throws: the refusal to answer with before the connection is closed.
  mutating func next() throws(HTTPRefusal) -> HTTPRequest? {
    if buffer.isEmpty {
      guard case .bytes(let bytes) = socket.receive(limit: 65536, seconds: limits.idleSeconds)
      else { return nil }
      buffer = bytes
    }
    let end = Clock.monotonicSeconds() + limits.seconds
    let head = try readHead(until: end)
    var request = try Self.parse(head)
    if request.headers["transfer-encoding"] != nil {
      throw HTTPRefusal(status: 411, reason: "send the body with a Content-Length")
    }
    if let text = request.headers["content-length"] {
      guard let length = Int(text), length >= 0, text.allSatisfy(\.isNumber) else {
        throw HTTPRefusal(status: 400, reason: "Content-Length is no number")
      }
      guard length <= limits.bodyBytes else {
        throw HTTPRefusal(
          status: 413, reason: "the body has \(length) bytes, at most \(limits.bodyBytes) are taken"
        )
      }
      if request.headers["expect"]?.lowercased() == "100-continue", buffer.count < length {
        _ = socket.send(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8))
      }
      while buffer.count < length { try more(until: end) }
      request.body = Array(buffer[..<length])
      buffer.removeFirst(length)
    }
    return request
  }

  private mutating func readHead(until end: Double) throws(HTTPRefusal) -> [UInt8] {
    var searched = 0
    while true {
      if let place = Self.endOfHead(buffer, from: max(0, searched - 3)) {
        defer { buffer.removeFirst(place + 4) }
        return Array(buffer[..<place])
      }
      searched = buffer.count
      guard searched <= limits.headerBytes else {
        throw HTTPRefusal(status: 431, reason: "the headers are too long")
      }
      try more(until: end)
    }
  }

  private static func endOfHead(_ bytes: [UInt8], from start: Int) -> Int? {
    guard bytes.count >= 4 else { return nil }
    return (start...bytes.count - 4).first { i in
      bytes[i] == 13 && bytes[i + 1] == 10 && bytes[i + 2] == 13 && bytes[i + 3] == 10
    }
  }

  private mutating func more(until end: Double) throws(HTTPRefusal) {
    switch socket.receive(limit: 65536, seconds: max(0, end - Clock.monotonicSeconds())) {
    case .bytes(let bytes): buffer += bytes
    case .timedOut: throw HTTPRefusal(status: 408, reason: "the request did not arrive in time")
    case .closed: throw HTTPRefusal(status: 400, reason: "the request ends in its middle")
    }
  }

  /// The request line and the headers.
  static func parse(_ head: [UInt8]) throws(HTTPRefusal) -> HTTPRequest {
    guard let text = String(validating: head, as: UTF8.self) else {
      throw HTTPRefusal(status: 400, reason: "the headers are not text")
    }
    var lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)
    let first = lines.removeFirst().split(separator: " ", omittingEmptySubsequences: false)
    guard first.count == 3, first[2].hasPrefix("HTTP/1."), first[1].hasPrefix("/"),
      !first[0].isEmpty, first[0].allSatisfy({ $0.isASCII && $0.isUppercase })
    else { throw HTTPRefusal(status: 400, reason: "the request line is not that of HTTP/1.1") }
    var headers: [String: String] = [:]
    for line in lines {
      guard let colon = line.firstIndex(of: ":"), colon != line.startIndex else {
        throw HTTPRefusal(status: 400, reason: "a header has no name")
      }
      let name = line[..<colon].lowercased()
      guard name.allSatisfy({ !$0.isWhitespace }) else {
        throw HTTPRefusal(status: 400, reason: "a header's name has blanks")
      }
      let value = String(line[line.index(after: colon)...]).trimmed
      if name == "content-length", let known = headers[name], known != value {
        throw HTTPRefusal(status: 400, reason: "Content-Length is there twice")
      }
      headers[name] = value
    }
    let connection = headers["connection"]?.lowercased() ?? ""
    let keeps = first[2] == "HTTP/1.1" ? connection != "close" : connection == "keep-alive"
    let path = first[1].prefix { $0 != "?" }
    return HTTPRequest(
      method: String(first[0]), path: String(path), headers: headers, keepsAlive: keeps)
  }
}

/// Writes answers to a connection.
struct HTTPWriter {
  let socket: Socket

  private static let reasons = [
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 411: "Length Required", 413: "Content Too Large",
    415: "Unsupported Media Type", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error",
    503: "Service Unavailable",
  ]

  private func head(_ status: Int, _ type: String, _ rest: [String], keepsAlive: Bool) -> String {
    let lines =
      [
        "HTTP/1.1 \(status) \(Self.reasons[status] ?? "Status")", "Content-Type: \(type)",
        "Cache-Control: no-store", "X-Content-Type-Options: nosniff",
        "Connection: \(keepsAlive ? "keep-alive" : "close")",
      ] + rest
    return lines.joined(separator: "\r\n") + "\r\n\r\n"
  }

  /// - Returns: false when the peer is gone.
  func send(_ status: Int, _ json: JSONValue, keepsAlive: Bool, headers: [String] = []) -> Bool {
    let body = Array(json.write(.compact).utf8)
    let head = head(
      status, "application/json", headers + ["Content-Length: \(body.count)"],
      keepsAlive: keepsAlive)
    return socket.send(Array(head.utf8) + body)
  }

  /// Begins a sequence of events (`text/event-stream`), sent in chunks.
  func beginEvents(keepsAlive: Bool) -> Bool {
    socket.send(
      Array(
        head(
          200, "text/event-stream; charset=utf-8", ["Transfer-Encoding: chunked"],
          keepsAlive: keepsAlive
        ).utf8))
  }

  func event(_ data: String) -> Bool { chunk("data: \(data)\n\n") }

  func endEvents() -> Bool { chunk("data: [DONE]\n\n") && socket.send(Array("0\r\n\r\n".utf8)) }

  private func chunk(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    return socket.send(
      Array((String(bytes.count, radix: 16) + "\r\n").utf8) + bytes + Array("\r\n".utf8))
  }
}
