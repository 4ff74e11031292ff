import CMPI
import Support

extension Communicator {
  /// An agreement point: the ranks tell each other whether one of them failed, and fail together.
  ///
  /// Without it a rank with a local error would leave the others waiting in the next collective.
  /// - Parameter fault: what this rank has to report, nil if all is well.
  /// - Throws: on every rank the same Fault, that of the lowest failing rank, with its own place
  ///   moved into the message and `place` naming that rank. COMM-… if the exchange itself fails.
  /// - Communication: one all-reduce of 8 bytes; after a failure two broadcasts.
  public func agree(_ fault: Fault?) throws(Fault) {
    // Counted from the top, so that the maximum finds the lowest failing rank; 0 is "none".
    var worst: [Int64] = [fault == nil ? 0 : Int64(size - rank)]
    try reduceMax(&worst)
    if worst[0] == 0 { return }
    let root = size - Int(worst[0])
    var bytes: [UInt8] = []
    if rank == root, let fault { bytes = FaultWire.encode(fault) }
    var length: [Int64] = [Int64(bytes.count)]
    try broadcastArray(&length, from: root)
    if rank != root { bytes = [UInt8](repeating: 0, count: Int(length[0])) }
    try broadcastArray(&bytes, from: root)
    var agreed = FaultWire.decode(bytes, rank: root)
    agreed.isAgreed = true
    throw agreed
  }

  private func reduceMax(_ values: inout [Int64]) throws(Fault) {
    try values.withUnsafeMutableBufferPointer { buffer throws(Fault) in
      try allReduceMax(buffer)
    }
  }

  private func broadcastArray<T: BitwiseCopyable>(
    _ values: inout [T], from root: Int
  ) throws(Fault) {
    try values.withUnsafeMutableBufferPointer { buffer throws(Fault) in
      try broadcast(UnsafeMutableRawBufferPointer(buffer), from: root)
    }
  }
}

/// A Fault as bytes: its texts, each with a mark whether it is there and its length before it.
enum FaultWire {
  static func encode(_ fault: Fault) -> [UInt8] {
    let message = (fault.place.map { "\($0): " } ?? "") + fault.message
    let texts: [String?] = [
      fault.code.id, fault.code.title, String(fault.code.exit.rawValue), message,
      fault.expected, fault.found, fault.fix, fault.cause, hostName(),
    ]
    var bytes: [UInt8] = []
    for text in texts {
      let utf8 = Array((text ?? "").utf8)
      bytes.append(text == nil ? 0 : 1)
      withUnsafeBytes(of: UInt32(utf8.count).littleEndian) { bytes.append(contentsOf: $0) }
      bytes.append(contentsOf: utf8)
    }
    return bytes
  }

  static func decode(_ bytes: [UInt8], rank: Int) -> Fault {
    var texts: [String?] = []
    var at = 0
    while at + 5 <= bytes.count {
      let length = (0..<4).reduce(0) { $0 | Int(bytes[at + 1 + $1]) << (8 * $1) }
      let end = min(at + 5 + length, bytes.count)
      texts.append(
        bytes[at] == 0 ? nil : String(decoding: bytes[(at + 5)..<end], as: UTF8.self))
      at = end
    }
    guard texts.count == 9, let id = texts[0], let title = texts[1], let message = texts[3],
      let exit = texts[2].flatMap({ Int32($0) }).flatMap(ExitCode.init(rawValue:))
    else {
      return Fault(
        .communication, "a rank failed, but its message was damaged on the way",
        at: .rank(rank))
    }
    var fault = Fault(
      FaultCode(id, exit, title), message, at: .rank(rank, host: texts[8]),
      expected: texts[4], found: texts[5], fix: texts[6])
    fault.cause = texts[7]
    return fault
  }

  static func hostName() -> String { text { cmpi_host_name($0, $1) } }
}
