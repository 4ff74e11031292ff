import Support
import Synchronization

/// Ranks as threads of one process: parallel code is tested and debugged without `mpirun`.
///
///     let sums = try ThreadWorld.run(ranks: 4) { world in
///       var x: [Float] = [Float(world.rank)]
///       try x.withUnsafeMutableBufferPointer { try world.allReduce($0, order: .adjacentFirst) }
///       return x[0]
///     }
///
/// The exchange is the one that the processes of a node use, so the bits are theirs. A rank that
/// throws or returns early releases those that wait for it with a COMM-003.
public final class ThreadWorld: GroupWorld, @unchecked Sendable {
  /// What may be set for a run; the defaults suit tests.
  public struct Options: Sendable {
    public var label = "world"
    public var sizes = SharedMemorySizes()
    /// Milliseconds a rank waits for the others before COMM-004; negative for ever.
    public var timeout: Int64 = 120_000
    /// Stack of each thread, bytes.
    public var stackBytes = 16 << 20

    public init() {}
  }

  private let group: ThreadGroup
  private let options: Options
  private let patience: BarrierPatience
  private var splits = 0

  init(
    group: ThreadGroup, rank: Int, label: String, options: Options, log: OperationLog
  ) {
    let size = group.members.count
    let patience = BarrierPatience(
      spins: BarrierPatience.spins(ranksOnNode: size), timeout: options.timeout)
    self.group = group
    self.options = options
    self.patience = patience
    super.init(rank: rank, size: size, label: label, log: log) { () throws(Fault) in
      let origin = HeapSource(group: group, member: rank, patience: patience)
      guard
        let exchange = try SharedExchange(
          rank: rank, size: size, label: label, sizes: options.sizes, patience: patience,
          origin: origin)
      else { throw Fault(.communication, "no memory for the group \(label)") }
      return exchange
    }
  }

  public override func split(
    color: Int, key: Int, label: String
  ) throws(Fault) -> any Communicator {
    try require(color >= 0, .split, "color \(color) is negative")
    let mine: [Int] = [color, key]
    var all = [Int](repeating: 0, count: 2 * size)
    try gather(mine, into: &all)
    let chosen = (0..<size).filter { all[2 * $0] == color }
      .sorted { (all[2 * $0 + 1], $0) < (all[2 * $1 + 1], $1) }
    splits += 1
    guard chosen.count > 1, let place = chosen.firstIndex(of: rank) else {
      return alone(label: label)
    }
    let child = try group.child(
      number: splits, color: color, members: chosen.map { group.members[$0] })
    return ThreadWorld(group: child, rank: place, label: label, options: options, log: log)
  }

  public override func double(label: String) throws(Fault) -> (any Communicator)? {
    splits += 1
    let twin = try group.child(number: splits, color: 0, members: group.members)
    return ThreadWorld(
      group: twin, rank: rank, label: label, options: options, log: OperationLog())
  }

  private func gather(_ mine: [Int], into all: inout [Int]) throws(Fault) {
    try mine.withUnsafeBufferPointer { send throws(Fault) in
      try all.withUnsafeMutableBufferPointer { receive throws(Fault) in
        try allGather(
          UnsafeRawBufferPointer(send), into: UnsafeMutableRawBufferPointer(receive))
      }
    }
  }
}

extension ThreadWorld {
  /// Runs `body` once per rank and returns what each made of it, in rank order.
  public static func outcomes<T: Sendable>(
    ranks: Int, options: Options = Options(),
    _ body: @escaping @Sendable (any Communicator) throws -> T
  ) throws(Fault) -> [Result<T, any Error>] {
    guard ranks > 0 else {
      throw Fault(.badCall, "a world of \(ranks) ranks", at: .operation("ThreadWorld.run"))
    }
    let hub = ThreadHub()
    defer { hub.clear() }
    let group = try ThreadGroup(members: Array(0..<ranks), hub: hub)
    let results = Mutex([Result<T, any Error>?](repeating: nil, count: ranks))
    try Threads.run(
      count: ranks, stackBytes: options.stackBytes, abandon: { hub.depart($0) }
    ) { rank in
      let world: any Communicator =
        ranks == 1
        ? SelfWorld(label: options.label)
        : ThreadWorld(
          group: group, rank: rank, label: options.label, options: options, log: OperationLog())
      let result = Result { try body(world) }
      results.withLock { $0[rank] = result }
      hub.depart(rank)
    }
    return results.withLock { $0 }.map { result in
      result ?? .failure(Fault(.internalError, "a rank ended without a result"))
    }
  }

  /// Runs `body` once per rank and returns the results in rank order.
  ///
  /// - Throws: the error of the lowest rank that failed by itself (not one released by COMM-003).
  public static func run<T: Sendable>(
    ranks: Int, options: Options = Options(),
    _ body: @escaping @Sendable (any Communicator) throws -> T
  ) throws -> [T] {
    let results = try outcomes(ranks: ranks, options: options, body)
    let errors = results.compactMap { result -> (any Error)? in
      if case .failure(let error) = result { return error }
      return nil
    }
    if let first = errors.first(where: { ($0 as? Fault)?.code != .rankLeft }) ?? errors.first {
      throw first
    }
    return try results.map { try $0.get() }
  }
}
