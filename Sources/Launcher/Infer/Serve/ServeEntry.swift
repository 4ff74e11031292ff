import Foundation
import Parallel
import Support

/// `--serve [HOST:]PORT`: the HTTP face on the first rank, until a signal to stop.
struct ServeEntry {
  let driver: LoopDriver
  let prompts: PromptBuilder
  /// Name under which the model is served.
  let model: String
  let logger: Logger

  /// Host and port of the option; the host is this machine alone where none is named.
  /// - Throws: `GEN-105`.
  static func address(_ text: String) throws(Fault) -> (host: String, port: Int) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), let port = Int(parts[parts.count - 1]),
      (0...65535).contains(port), parts.count == 1 || !parts[0].isEmpty
    else {
      throw Fault(
        .cannotServe, "\"\(text)\" is no address", at: .flag("serve"), expected: "PORT or HOST:PORT"
      )
    }
    return (parts.count == 2 ? String(parts[0]) : "127.0.0.1", port)
  }

  /// The life of the first rank.
  func run(_ text: String) throws(Fault) {
    let (host, port) = try Self.address(text)
    let listener = try ListeningSocket(host: host, port: port)
    SignalFlags.install()
    let service = GenerationService()
    let server = ChatServer(service: service, prompts: prompts, model: model, logger: logger)
    logger.info("serving \(model) at http://\(host):\(listener.port)/v1")
    if host == "0.0.0.0" {
      logger.warning("every machine that reaches this one can use the model; there are no keys")
    }
    let handed = Handed(listener)
    Thread { server.serve(handed.listener) }.start()
    Thread {
      while !SignalFlags.current.contains(.stop) { Thread.sleep(forTimeInterval: 0.1) }
      server.stop()
      service.close()
    }.start()
    try service.drive(driver)
    logger.info("stopped")
  }

  /// The listener on its way to its thread; unchecked, because the giver lets go of it.
  private struct Handed: @unchecked Sendable {
    let listener: ListeningSocket
    init(_ listener: ListeningSocket) { self.listener = listener }
  }
}
