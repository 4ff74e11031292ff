import Glibc
import Support

/// A stream socket. Reads and writes end with the time limits given.
///
/// Unchecked by design: not Sendable; a connection belongs to its thread.
final class Socket {
  let descriptor: Int32

  init(_ descriptor: Int32) { self.descriptor = descriptor }
  deinit { close(descriptor) }

  enum Received: Equatable {
    case bytes([UInt8])
    case timedOut
    case closed
  }

  /// What arrives within `seconds`, at most `limit` bytes.
  func receive(limit: Int, seconds: Double) -> Received {
    guard wait(for: Int16(POLLIN), seconds: seconds) else { return .timedOut }
    var buffer = [UInt8](repeating: 0, count: limit)
    while true {
      let count = recv(descriptor, &buffer, limit, 0)
      if count > 0 { return .bytes(Array(buffer[..<count])) }
      if count < 0, errno == EINTR { continue }
      return .closed
    }
  }

  /// - Returns: false when the peer is gone or takes nothing for `seconds`.
  func send(_ bytes: [UInt8], seconds: Double = 30) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      guard wait(for: Int16(POLLOUT), seconds: seconds) else { return false }
      let count = rest.withUnsafeBytes {
        Glibc.send(
          descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT)
        )
      }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else if !(count < 0 && [EINTR, EAGAIN].contains(errno)) {
        return false
      }
    }
    return true
  }

  /// The peer has closed its side.
  var isGone: Bool {
    guard wait(for: Int16(POLLIN), seconds: 0) else { return false }
    var byte: UInt8 = 0
    return recv(
      descriptor, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT)) == 0
  }

  private func wait(for events: Int16, seconds: Double) -> Bool {
    let end = Clock.monotonicSeconds() + seconds
    while true {
      var ready = pollfd(fd: descriptor, events: events, revents: 0)
      let left = max(0, end - Clock.monotonicSeconds())
      let count = poll(&ready, 1, Int32((left * 1000).rounded(.up)))
      if count > 0 { return true }
      if count == 0 || errno != EINTR { return false }
    }
  }
}

/// A listening socket of one address.
final class ListeningSocket {
  private let socket: Socket
  /// The port, chosen by the system when 0 was asked for.
  let port: Int

  /// - Parameter host: an IPv4 address, `localhost`, or `0.0.0.0` for all.
  /// - Throws: `GEN-105` when the address is taken or cannot be used.
  init(host: String, port: Int) throws(Fault) {
    func refuse(_ what: String) -> Fault {
      Fault(
        .cannotServe, "\(host):\(port): \(what): \(systemErrorText(errno))", at: .flag("serve"),
        fix: "choose a free port of this machine")
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
    guard inet_pton(AF_INET, host == "localhost" ? "127.0.0.1" : host, &address.sin_addr) == 1
    else {
      throw Fault(
        .cannotServe, "\(host) is no IPv4 address", at: .flag("serve"),
        expected: "PORT, 127.0.0.1:PORT or 0.0.0.0:PORT")
    }
    let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw refuse("no socket") }
    socket = Socket(descriptor)
    var yes: Int32 = 1
    setsockopt(
      descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
    }
    guard bound == 0 else { throw refuse("cannot be bound") }
    guard listen(descriptor, 128) == 0 else { throw refuse("cannot be listened to") }
    var own = sockaddr_in()
    var ownSize = size
    _ = withUnsafeMutablePointer(to: &own) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getsockname(descriptor, $0, &ownSize)
      }
    }
    self.port = Int(UInt16(bigEndian: own.sin_port))
  }

  /// The next connection, nil if none came within `seconds`.
  func accept(seconds: Double) -> Socket? {
    var ready = pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&ready, 1, Int32(seconds * 1000)) > 0 else { return nil }
    let descriptor = Glibc.accept(socket.descriptor, nil, nil)
    guard descriptor >= 0 else { return nil }
    var yes: Int32 = 1
    setsockopt(
      descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
    return Socket(descriptor)
  }
}
