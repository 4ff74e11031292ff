import Support

/// A world of one rank: every collective is a copy or nothing.
public final class SelfWorld: GroupWorld, @unchecked Sendable {
  public convenience init(label: String = "world") {
    self.init(label: label, log: OperationLog())
  }

  init(label: String, log: OperationLog) {
    super.init(rank: 0, size: 1, label: label, log: log) { () throws(Fault) in SelfExchange() }
  }

  /// The same world under another name.
  public override func split(
    color: Int, key: Int, label: String
  ) throws(Fault) -> any Communicator {
    alone(label: label)
  }

  public override func double(label: String) throws(Fault) -> (any Communicator)? {
    SelfWorld(label: label, log: OperationLog())
  }
}

/// The exchange of a group of one.
final class SelfExchange: Exchange {
  func barrier() throws(Fault) {}

  func allGather(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(Fault) {
    copy(send.baseAddress, to: receive.baseAddress, bytes: send.count)
  }

  func allToAll(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int]
  ) throws(Fault) {
    copy(send.baseAddress, to: receive.baseAddress, bytes: send.count)
  }

  func broadcast(_ buffer: UnsafeMutableRawBufferPointer, from root: Int) throws(Fault) {}

  func reduceScatter(
    _ send: UnsafeRawPointer, into receive: UnsafeMutableRawPointer, count: Int,
    _ reduction: Reduction
  ) throws(Fault) {
    copy(send, to: receive, bytes: count * reduction.elementBytes)
  }

  func allReduce(
    _ buffer: UnsafeMutableRawPointer, count: Int, _ reduction: Reduction
  ) throws(Fault) {}
}

/// Copies unless there is nothing to copy or it lies there already.
func copy(_ from: UnsafeRawPointer?, to: UnsafeMutableRawPointer?, bytes: Int) {
  guard bytes > 0, let from, let to, from != UnsafeRawPointer(to) else { return }
  to.copyMemory(from: from, byteCount: bytes)
}
