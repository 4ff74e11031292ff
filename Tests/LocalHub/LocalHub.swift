import Foundation
import Support
import Synchronization

/// A hub on this machine that speaks what both public hubs speak: listing, download with ranges and
/// redirects to another host, upload with large files apart and one commit.
public final class LocalHub: Sendable {
  /// A repository as it stands.
  public struct Repository: Sendable {
    public var files: [String: [UInt8]] = [:]
    /// Paths whose content lies in the store of large files.
    public var large: Set<String> = []
    public var commits = 0
    public var isPrivate = false
    public var head: String { Digest.git(commits) }
  }

  struct State: Sendable {
    /// By `models/ID` or `datasets/ID`.
    var repositories: [String: Repository] = [:]
    /// Contents by SHA-256.
    var store: [String: [UInt8]] = [:]
    /// Parts of uploads, by content.
    var parts: [String: [Int: [UInt8]]] = [:]
    var requests: [ServedRequest] = []
    var connections = 0
    var loseNextCommit = false
    var damage: [String: Int] = [:]
  }

  /// How the server behaves.
  public struct Behaviour: Sendable {
    /// Every connection of this number is broken off; 0 for none.
    public var dropsEvery = 0
    /// The token that writers and readers of private repositories must show.
    public var token: String?
    /// Larger files are large ones.
    public var largeFrom = 1000
    /// Larger uploads go in parts of this size.
    public var partSize = 4000
    /// Entries of a page of a list.
    public var pageSize = 3
    public init() {}
  }

  let behaviour: Behaviour
  let state = Mutex(State())
  private let box = Mutex<HTTPServer?>(nil)

  /// - Parameter port: 0 takes any.
  /// - Throws: `INT-001` when no port can be taken.
  public init(_ behaviour: Behaviour = Behaviour(), port: UInt16 = 0) throws(Fault) {
    self.behaviour = behaviour
    let server = try HTTPServer(
      port: port, drop: { [weak self] in self?.drop($0) ?? .no },
      answer: { [weak self] in self?.answer($0) ?? ServedAnswer(500) })
    box.withLock { $0 = server }
  }

  deinit { box.withLock { $0?.stop() } }

  public var port: UInt16 { box.withLock { $0?.port ?? 0 } }
  public var address: String { "http://127.0.0.1:\(port)" }
  /// The same server under the name of another host.
  var otherAddress: String { "http://localhost:\(port)" }

  /// Puts a file into a repository, which is made when it is not there.
  public func add(
    _ path: String, _ bytes: [UInt8], to id: String, kind: String = "models"
  ) {
    state.withLock { state in
      state.repositories["\(kind)/\(id)", default: Repository()].files[path] = bytes
      guard bytes.count >= behaviour.largeFrom else { return }
      state.repositories["\(kind)/\(id)"]?.large.insert(path)
      state.store[Digest.sha256(bytes)] = bytes
    }
  }

  public func repository(_ id: String, kind: String = "models") -> Repository? {
    state.withLock { $0.repositories["\(kind)/\(id)"] }
  }

  /// Everything that was asked, in order.
  public var requests: [ServedRequest] { state.withLock { $0.requests } }
  public func forgetRequests() { state.withLock { $0.requests = [] } }
  /// The next commit is made, and its answer lost.
  public func loseNextCommit() { state.withLock { $0.loseNextCommit = true } }
  /// A file arrives with a flipped bit so many times.
  public func damage(_ path: String, times: Int) { state.withLock { $0.damage[path] = times } }

  private func drop(_ request: ServedRequest) -> HTTPServer.Drop {
    state.withLock { state in
      state.connections += 1
      state.requests.append(request)
      if state.loseNextCommit, request.path.contains("/commit/") {
        state.loseNextCommit = false
        return .after
      }
      guard behaviour.dropsEvery > 0, state.connections % behaviour.dropsEvery == 0 else {
        return .no
      }
      // Answers of a few bytes have no half.
      return state.connections / behaviour.dropsEvery % 2 == 0 ? .before : .half
    }
  }

  func isWelcome(_ request: ServedRequest) -> Bool {
    guard let token = behaviour.token else { return true }
    return request.headers["authorization"] == "Bearer \(token)"
  }

  private func answer(_ request: ServedRequest) -> ServedAnswer {
    let parts = request.path.split(separator: "/").map(String.init)
    if parts.first == "store" { return content(request, parts) }
    if parts.starts(with: ["api", "v1"]) { return modelScope(request, Array(parts.dropFirst(2))) }
    return huggingFace(request, parts)
  }

  /// Bytes of a content, from a host that is not the hub's.
  private func content(_ request: ServedRequest, _ parts: [String]) -> ServedAnswer {
    switch (request.method, parts.count) {
    case ("GET", 2):
      guard let bytes = state.withLock({ $0.store[parts[1]] }) else { return ServedAnswer(404) }
      return part(of: bytes, request, name: parts[1])
    case ("PUT", 2):
      guard Digest.sha256(request.body) == parts[1] else { return ServedAnswer(400) }
      state.withLock { $0.store[parts[1]] = request.body }
      return ServedAnswer()
    case ("PUT", 3):
      guard let number = Int(parts[2]) else { return ServedAnswer(400) }
      state.withLock { $0.parts[parts[1], default: [:]][number] = request.body }
      return ServedAnswer(headers: [("ETag", "\"part-\(number)\"")])
    default: return ServedAnswer(404)
    }
  }

  /// A whole content, or the part that the client asks for.
  func part(of bytes: [UInt8], _ request: ServedRequest, name: String) -> ServedAnswer {
    var bytes = bytes
    let isDamaged = state.withLock { state -> Bool in
      guard let left = state.damage[name], left > 0 else { return false }
      state.damage[name] = left - 1
      return true
    }
    if isDamaged, !bytes.isEmpty { bytes[bytes.count / 2] ^= 1 }
    guard let range = request.headers["range"], range.hasPrefix("bytes="), range.hasSuffix("-"),
      let start = Int(range.dropFirst(6).dropLast())
    else { return ServedAnswer(body: bytes) }
    guard start < bytes.count else { return ServedAnswer(416) }
    let header = ("Content-Range", "bytes \(start)-\(bytes.count - 1)/\(bytes.count)")
    return ServedAnswer(206, headers: [header], body: Array(bytes[start...]))
  }
}

extension Digest {
  static func sha256(_ bytes: [UInt8]) -> String {
    let digest = Digest(.sha256)
    digest.update(bytes)
    return digest.hexadecimal()
  }

  /// The name of a blob in git.
  static func blob(_ bytes: [UInt8]) -> String {
    let digest = Digest(.sha1)
    digest.update(Array("blob \(bytes.count)\0".utf8) + bytes)
    return digest.hexadecimal()
  }

  /// A name for the commit of a number.
  static func git(_ number: Int) -> String {
    let digest = Digest(.sha1)
    digest.update(Array("commit \(number)".utf8))
    return digest.hexadecimal()
  }
}
