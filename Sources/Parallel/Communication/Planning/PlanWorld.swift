import Support

/// Rank `rank` of `size` without any peer: counts calls and bytes, so that a layout's traffic can
/// be read off the real model code.
///
/// Results are placeholders: gathered and exchanged blocks of peers are zero, this rank's own are
/// copied; sums and maxima are this rank's own values. Never train on them.
public final class PlanWorld: GroupWorld, @unchecked Sendable {
  /// Shared by all groups split from the same world.
  public let counter: PlanCounter

  /// - Throws: COMM-101 unless `rank` is in `0..<size`.
  public convenience init(
    rank: Int, size: Int, counter: PlanCounter = PlanCounter()
  ) throws(Fault) {
    guard size > 0, 0..<size ~= rank else {
      throw Fault(.badCall, "rank \(rank) of \(size)", at: .operation("PlanWorld"))
    }
    self.init(rank: rank, size: size, label: "world", counter: counter, log: OperationLog())
  }

  private init(rank: Int, size: Int, label: String, counter: PlanCounter, log: OperationLog) {
    self.counter = counter
    super.init(rank: rank, size: size, label: label, log: log) { () throws(Fault) in
      PlanExchange(rank: rank, size: size, label: label, counter: counter)
    }
  }

  public override func split(
    color: Int, key: Int, label: String
  ) throws(Fault) -> any Communicator {
    throw Fault(
      .badCall, "a planned rank cannot ask its peers for their colors",
      at: .operation("split \(label)"), fix: "split by a list of groups")
  }

  public override func double(label: String) throws(Fault) -> (any Communicator)? {
    PlanWorld(rank: rank, size: size, label: label, counter: counter, log: OperationLog())
  }

  public override func split(groups: [[Int]], label: String) throws(Fault) -> any Communicator {
    let place = try place(in: groups, label: label)
    return PlanWorld(
      rank: place.index, size: groups[place.group].count, label: label, counter: counter, log: log)
  }
}

/// Counts what the real exchanges would send and fills in placeholders.
final class PlanExchange: Exchange {
  private let rank: Int
  private let size: Int
  private let label: String
  private let counter: PlanCounter

  init(rank: Int, size: Int, label: String, counter: PlanCounter) {
    self.rank = rank
    self.size = size
    self.label = label
    self.counter = counter
  }

  private func tally(_ kind: CollectiveKind, _ payload: Int, sent: Int) {
    counter.tally(kind, label: label, size: size, payload: payload, sent: sent)
  }

  func barrier() throws(Fault) { tally(.barrier, 0, sent: 0) }

  func broadcast(_ buffer: UnsafeMutableRawBufferPointer, from root: Int) throws(Fault) {
    tally(.broadcast, buffer.count, sent: rank == root ? buffer.count * (size - 1) : 0)
  }

  func allGather(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(Fault) {
    tally(.allGather, send.count, sent: send.count * (size - 1))
    zero(receive)
    let start = offsets(of: counts)[rank]
    copy(send.baseAddress, to: receive.baseAddress.map { $0 + start }, bytes: send.count)
  }

  func allToAll(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int]
  ) throws(Fault) {
    tally(.allToAll, send.count, sent: send.count - sendCounts[rank])
    zero(receive)
    let from = offsets(of: sendCounts)[rank]
    let to = offsets(of: receiveCounts)[rank]
    copy(
      send.baseAddress.map { $0 + from }, to: receive.baseAddress.map { $0 + to },
      bytes: sendCounts[rank])
  }

  func reduceScatter(
    _ send: UnsafeRawPointer, into receive: UnsafeMutableRawPointer, count: Int,
    _ reduction: Reduction
  ) throws(Fault) {
    let slice = count * reduction.elementBytes
    tally(.reduceScatter, size * slice, sent: slice * (size - 1))
    copy(send + rank * slice, to: receive, bytes: slice)
  }

  func allReduce(
    _ buffer: UnsafeMutableRawPointer, count: Int, _ reduction: Reduction
  ) throws(Fault) {
    let bytes = count * reduction.elementBytes
    tally(.allReduce, bytes, sent: 2 * bytes * (size - 1) / size)
  }

  private func zero(_ buffer: UnsafeMutableRawBufferPointer) {
    if let base = buffer.baseAddress {
      base.initializeMemory(as: UInt8.self, repeating: 0, count: buffer.count)
    }
  }
}
