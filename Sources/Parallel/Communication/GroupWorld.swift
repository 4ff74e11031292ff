import Support

/// What all worlds share: checking the arguments of a call, noting it, handing it to the
/// `Exchange` that moves the bytes.
///
/// One thread drives all groups of a rank, so members need no lock (design: MPI is funneled).
public class GroupWorld: Communicator, @unchecked Sendable {
  public let rank: Int
  public let size: Int
  public let label: String
  /// The last calls of this process over all groups that were split from the same world.
  public let log: OperationLog

  private let makeExchange: () throws(Fault) -> any Exchange
  private var made: (any Exchange)?

  /// `makeExchange` runs at the first call, which all members make together.
  init(
    rank: Int, size: Int, label: String, log: OperationLog,
    makeExchange: @escaping () throws(Fault) -> any Exchange
  ) {
    self.rank = rank
    self.size = size
    self.label = label
    self.log = log
    self.makeExchange = makeExchange
  }

  func exchange() throws(Fault) -> any Exchange {
    if let made { return made }
    let exchange: any Exchange = size == 1 ? SelfExchange() : try makeExchange()
    made = exchange
    return exchange
  }

  public func barrier() throws(Fault) {
    try run(.barrier, bytes: 0) { exchange throws(Fault) in try exchange.barrier() }
  }

  public func allGather(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    try allGather(send, into: receive, counts: [Int](repeating: send.count, count: size))
  }

  public func allGather(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(Fault) {
    try checkCounts(counts, fill: receive.count, .allGather, "receive")
    try require(
      counts[rank] == send.count, .allGather, "counts[\(rank)] and the send buffer differ")
    try run(.allGather, bytes: send.count) { exchange throws(Fault) in
      try exchange.allGather(send, into: receive, counts: counts)
    }
  }

  public func allToAll(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int]
  ) throws(Fault) {
    try checkCounts(sendCounts, fill: send.count, .allToAll, "send")
    try checkCounts(receiveCounts, fill: receive.count, .allToAll, "receive")
    try require(
      sendCounts[rank] == receiveCounts[rank], .allToAll, "the rank's block to itself has two sizes"
    )
    try run(.allToAll, bytes: send.count) { exchange throws(Fault) in
      try exchange.allToAll(
        send, sendCounts: sendCounts, into: receive, receiveCounts: receiveCounts)
    }
  }

  public func broadcast(
    _ buffer: UnsafeMutableRawBufferPointer, from root: Int
  ) throws(Fault) {
    try require(0..<size ~= root, .broadcast, "root \(root) is not in 0..<\(size)")
    try run(.broadcast, bytes: buffer.count) { exchange throws(Fault) in
      try exchange.broadcast(buffer, from: root)
    }
  }

  public func reduceScatter(
    _ send: UnsafeBufferPointer<Float>, into receive: UnsafeMutableBufferPointer<Float>,
    order: TreeOrder
  ) throws(Fault) {
    try require(
      send.count == size * receive.count, .reduceScatter,
      "\(send.count) floats are not \(size) slices of \(receive.count)")
    try run(.reduceScatter, bytes: send.count * 4) { exchange throws(Fault) in
      guard let from = send.baseAddress, let to = receive.baseAddress else {
        return try exchange.barrier()
      }
      try exchange.reduceScatter(
        UnsafeRawPointer(from), into: UnsafeMutableRawPointer(to), count: receive.count,
        .sum(order))
    }
  }

  public func allReduce(
    _ buffer: UnsafeMutableBufferPointer<Float>, order: TreeOrder
  ) throws(Fault) {
    try reduce(UnsafeMutableRawBufferPointer(buffer), .sum(order))
  }

  public func allReduceMax(_ buffer: UnsafeMutableBufferPointer<Float>) throws(Fault) {
    try reduce(UnsafeMutableRawBufferPointer(buffer), .maxFloat)
  }

  public func allReduceMax(_ buffer: UnsafeMutableBufferPointer<Int64>) throws(Fault) {
    try reduce(UnsafeMutableRawBufferPointer(buffer), .maxInt64)
  }

  public func allReduceSum(_ buffer: UnsafeMutableBufferPointer<Int64>) throws(Fault) {
    try reduce(UnsafeMutableRawBufferPointer(buffer), .sumInt64)
  }

  public func split(color: Int, key: Int, label: String) throws(Fault) -> any Communicator {
    throw Fault(.internalError, "this world cannot be split", at: .operation("split \(label)"))
  }

  public func double(label: String) throws(Fault) -> (any Communicator)? {
    throw Fault(.internalError, "this world has no double", at: .operation("double \(label)"))
  }

  public func split(groups: [[Int]], label: String) throws(Fault) -> any Communicator {
    let (color, key) = try place(in: groups, label: label)
    return try split(color: color, key: key, label: label)
  }

  private func reduce(
    _ buffer: UnsafeMutableRawBufferPointer, _ reduction: Reduction
  ) throws(Fault) {
    try run(.allReduce, bytes: buffer.count) { exchange throws(Fault) in
      guard let base = buffer.baseAddress else { return try exchange.barrier() }
      try exchange.allReduce(base, count: buffer.count / reduction.elementBytes, reduction)
    }
  }

  /// Notes the call, so that a watchdog sees the one that does not end.
  func run(
    _ kind: CollectiveKind, bytes: Int, _ body: (any Exchange) throws(Fault) -> Void
  ) throws(Fault) {
    log.begin(kind, label: label, bytes: bytes)
    try body(try exchange())
    log.end()
  }
}

extension GroupWorld {
  func require(_ holds: Bool, _ kind: CollectiveKind, _ message: String) throws(Fault) {
    if holds { return }
    throw Fault(.badCall, message, at: .operation("\(kind.rawValue) on \(label)"))
  }

  private func checkCounts(
    _ counts: [Int], fill bytes: Int, _ kind: CollectiveKind, _ side: String
  ) throws(Fault) {
    try require(
      counts.count == size, kind, "\(counts.count) \(side) counts for a group of \(size)")
    try require(counts.allSatisfy { $0 >= 0 }, kind, "a \(side) count is negative")
    var total = 0
    for count in counts {
      let (sum, overflow) = total.addingReportingOverflow(count)
      try require(!overflow, kind, "the \(side) counts overflow")
      total = sum
    }
    try require(
      total == bytes, kind, "the \(side) counts sum to \(total), the buffer has \(bytes) bytes")
  }

  /// This rank's group in a partition and its place there.
  func place(in groups: [[Int]], label: String) throws(Fault) -> (group: Int, index: Int) {
    let sorted = groups.joined().sorted()
    guard sorted == Array(0..<size) else {
      throw Fault(
        .badCall, "the groups do not hold each rank exactly once",
        at: .operation("split \(label)"), expected: "a partition of 0..<\(size)",
        found: "\(groups)")
    }
    for (index, group) in groups.enumerated() {
      if let place = group.firstIndex(of: rank) { return (index, place) }
    }
    throw Fault(.badCall, "rank \(rank) is in no group", at: .operation("split \(label)"))
  }

  /// A group of one that keeps this world's log.
  func alone(label: String) -> any Communicator { SelfWorld(label: label, log: log) }
}
