import Foundation
import Synchronization
import Testing

@testable import DataPipeline
@testable import Support

#if canImport(Glibc)
  import Glibc
#endif

/// A server on this machine that answers each path in its own way, one connection after the other.
private final class LocalServer: Sendable {
  let port: UInt16
  private let listener: Int32
  private let body: [UInt8]

  init(body: [UInt8]) throws {
    self.body = body
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    listener = descriptor
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, size) == 0 && listen(descriptor, 8) == 0
          && getsockname(descriptor, $0, &size) == 0
      }
    }
    guard bound else { throw Fault(.internalError, "no server") }
    port = UInt16(bigEndian: address.sin_port)
    let thread = Thread { [self] in serve() }
    thread.start()
  }

  func stop() { shutdown(listener, Int32(SHUT_RDWR)) }

  private func serve() {
    while true {
      let client = accept(listener, nil, nil)
      guard client >= 0 else { break }
      let thread = Thread { [self] in
        var request = [UInt8](repeating: 0, count: 2048)
        let count = max(recv(client, &request, request.count, 0), 0)
        let words = String(decoding: request.prefix(count), as: UTF8.self).split(separator: " ")
        answer(client, words.count > 1 ? String(words[1]) : "")
        close(client)
      }
      thread.start()
    }
    close(listener)
  }

  private func answer(_ client: Int32, _ path: String) {
    func head(_ status: String, _ more: String = "") {
      put(client, Array("HTTP/1.1 \(status)\r\n\(more)\r\n".utf8))
    }
    switch path {
    case "/picture.jpg":
      head("200 OK", "Content-Length: \(body.count)\r\n")
      put(client, body)
    case "/moved": head("302 Found", "Location: /picture.jpg\r\nContent-Length: 0\r\n")
    case "/round": head("302 Found", "Location: /round\r\nContent-Length: 0\r\n")
    case "/file": head("302 Found", "Location: file:///etc/hostname\r\nContent-Length: 0\r\n")
    case "/slow":
      head("200 OK", "Content-Length: 1000\r\n")
      Thread.sleep(forTimeInterval: 3)
    case "/endless":
      head("200 OK")
      while put(client, [UInt8](repeating: 7, count: 1 << 16)) {}
    default: head("404 Not Found", "Content-Length: 0\r\n")
    }
  }

  @discardableResult private func put(_ client: Int32, _ bytes: [UInt8]) -> Bool {
    send(client, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
  }
}

@Suite struct DownloadTests {
  @Test("Downloads follow redirects and end at 404, loops, other protocols, time and size")
  func answers() throws {
    let body = [UInt8](
      try #require(FileManager.default.contents(atPath: "\(Fixtures.data)/media/thumb_40x27.jpg")))
    let server = try LocalServer(body: body)
    defer { server.stop() }
    let settings = MediaFixtures.settings {
      $0.timeout = 1
      $0.limits.pictureBytes = 1 << 20
    }
    let processor = MediaProcessor(settings)
    func outcome(_ path: String) -> Fault? {
      let source = MediaSource(text: "http://127.0.0.1:\(server.port)\(path)")
      return TextFixtures.fault {
        let measured = try processor.measurePicture(MediumName(field: "images[0]", source: source))
        _ = try processor.load(EncodedRow(inputIDs: [], labels: [], media: [measured.item]))
      }
    }
    #expect(outcome("/picture.jpg")?.message == nil)
    #expect(outcome("/moved")?.message == nil)
    #expect(outcome("/gone")?.message.contains("status 404") == true)
    #expect(outcome("/round")?.code == .badDownload)
    #expect(outcome("/file")?.code == .badDownload)
    #expect(outcome("/slow")?.message.contains("not downloaded within 1.0 seconds") == true)
    #expect(outcome("/endless")?.code == .mediaTooLarge)
  }
}
