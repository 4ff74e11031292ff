import Support

/// A request to a server.
struct HTTPRequest: Sendable {
  enum Method: String, Sendable { case get = "GET", post = "POST", put = "PUT" }

  /// What is sent along.
  enum Body: Sendable {
    case none
    case bytes([UInt8])
    case file(PosixFile, from: Int, count: Int)
  }

  /// To whom the token of a hub is shown.
  enum Access: Sendable, Equatable {
    case nobody
    /// The host of the hub.
    case hub
    /// The host of the hub and those of its own domain.
    case site
  }

  var method = Method.get
  var address: String
  var headers: [(name: String, value: String)] = []
  var body = Body.none
  var access = Access.hub

  init(_ method: Method = .get, _ address: String) {
    self.method = method
    self.address = address
  }

  /// A request with a JSON body.
  init(post address: String, _ json: JSONValue, type: String = "application/json") {
    self.init(.post, address)
    body = .bytes(Array(json.write().utf8))
    headers = [("Content-Type", type), ("Accept", type)]
  }
}

/// What a server answered.
struct HTTPAnswer: Sendable {
  let status: Int
  /// Names in small letters.
  let headers: [String: String]
  let body: [UInt8]

  var isGood: Bool { (200..<300).contains(status) }

  init(status: Int, headerLines: String, body: [UInt8]) {
    self.status = status
    self.body = body
    var headers: [String: String] = [:]
    for line in headerLines.split(whereSeparator: \.isNewline) {
      guard let colon = line.firstIndex(of: ":") else { continue }
      headers[line[..<colon].lowercased()] = String(
        line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" })
    }
    self.headers = headers
  }

  /// The value of the body.
  /// - Throws: `HUB-105`.
  func json(_ what: String) throws(Fault) -> JSONValue {
    let parsed = body.withUnsafeBytes { raw -> JSONValue? in try? JSONValue.parse(raw) }
    guard let parsed else {
      throw Fault(
        .badHubAnswer, "\(what): the answer is no JSON",
        found: String(String(decoding: body.prefix(200), as: UTF8.self)))
    }
    return parsed
  }
}

/// Why a request brought no answer that can be used.
struct HTTPFailure: Error, Sendable {
  enum Cause: Sendable, Equatable {
    case noHost, untrusted, cut, tooLarge, stopped, noDisk, failed
    case status(Int)
  }
  let cause: Cause
  /// The words of the library, or of the server.
  let words: String
  /// Seconds that the server asks to wait.
  var wait: Double?

  /// Whether it may go well another time.
  var isPassing: Bool {
    switch cause {
    case .noHost, .cut: return true
    case .status(let code): return [408, 425, 429, 500, 502, 503, 504].contains(code)
    case .untrusted, .tooLarge, .stopped, .noDisk, .failed: return false
    }
  }
}
