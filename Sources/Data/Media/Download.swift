import CFetch
import Support
import Synchronization

/// Downloads of media, the latest of which are kept in memory: a picture is measured, checked and
/// loaded one after the other.
final class Downloads: Sendable {
  private struct State: Sendable {
    var kept: [String: [UInt8]] = [:]
    /// Addresses in the order they came.
    var order: [String] = []
    var bytes = 0
  }

  /// Most bytes that are kept.
  private static let room = 64 << 20
  private static let redirects = 5
  private let state = Mutex(State())

  /// The bytes of an address.
  /// - Parameters:
  ///   - timeout: seconds for the whole.
  ///   - limit: most bytes.
  /// - Throws: `DATA-403` over the limit, `DATA-405` otherwise.
  func bytes(
    _ address: String, timeout: Double, limit: Int, _ name: MediumName
  ) throws(Fault) -> [UInt8] {
    if let kept = state.withLock({ $0.kept[address] }) { return kept }
    var answer = cfetch_answer()
    let code = cfetch(address, timeout, limit, Int32(Self.redirects), &answer)
    defer { cfetch_free(&answer) }
    guard code == CFETCH_OK else { throw fault(code, answer, timeout, limit, name) }
    let bytes = Array(UnsafeBufferPointer(start: answer.bytes, count: answer.count))
    keep(bytes, address)
    return bytes
  }

  private func keep(_ bytes: [UInt8], _ address: String) {
    state.withLock { state in
      guard bytes.count <= Self.room / 4, state.kept[address] == nil else { return }
      state.kept[address] = bytes
      state.order.append(address)
      state.bytes += bytes.count
      while state.bytes > Self.room {
        state.bytes -= state.kept.removeValue(forKey: state.order.removeFirst())?.count ?? 0
      }
    }
  }

  private func fault(
    _ code: cfetch_code, _ answer: cfetch_answer, _ timeout: Double, _ limit: Int,
    _ name: MediumName
  ) -> Fault {
    let words = withUnsafeBytes(of: answer.note) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    switch code {
    case CFETCH_STATUS:
      return name.bad(
        "the server answered with status \(answer.status)", fix: "check the address",
        code: .badDownload)
    case CFETCH_TIME:
      return name.bad(
        "not downloaded within \(timeout) seconds", fix: "raise TIMEOUT, or download it first",
        code: .badDownload)
    case CFETCH_TOO_LARGE:
      return name.bad(
        "has more than \(limit >> 20) MiB", fix: "make it smaller", code: .mediaTooLarge)
    default:
      return name.bad(
        "cannot be downloaded: \(words)", fix: "check the address and the network",
        code: .badDownload)
    }
  }
}
