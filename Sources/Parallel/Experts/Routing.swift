import Support
import Tensor

// S rows this rank sends   R rows it computes   e/ep experts of this rank

/// Where every row goes for one layer and one micro-batch: what dispatcher and combiner share.
///
/// A row is sent once per kept expert. The order of sending is by expert, then by row, so that a
/// rank receives runs (source rank, own expert, row); an expert's rows then lie by source rank and
/// row, which is the order of the tokens when the ranks hold consecutive ones.
public struct Routing: Sendable {
  public let topK: Int
  /// `[t, k]`: the slot survived the capacity.
  public let kept: [Bool]
  /// Row of x for each of the S sent rows.
  let sentRows: [Int32]
  /// Slot `t·k + j` of each sent row; −1 for a row that only fills an expert up.
  let sentSlots: [Int32]
  /// Position among the sent rows of each slot; −1 = dropped: `[t, k]`.
  let slotPosition: [Int32]
  /// Rows per peer of the expert-parallel group.
  let sendCounts: [Int]
  let receiveCounts: [Int]
  /// Rows of each etp peer's block, equal for all (padded): 0 in a group of one.
  let blockRows: Int
  /// For the rows of each own expert, in order: their place among the received rows.
  let expertRows: [Int32]
  /// Start of each own expert's rows in `expertRows`, and the end: `[e/ep + 1]`.
  public let expertOffsets: [Int]

  /// Starts of the lanes in each expert's rows, and the end: `[e/ep][lanes + 1]`; empty without lanes.
  public let laneOffsets: [[Int]]

  /// Rows received over the expert-parallel group, before the etp gather.
  var receivedRows: Int { receiveCounts.reduce(0, +) }
  /// Rows the experts of this rank work on.
  public var computedRows: Int { expertRows.count }
  /// Rows in the buffer that `expertRows` points into.
  func bufferRows(etp: Int) -> Int { etp > 1 ? blockRows * etp : receivedRows }

  /// - Communication: with a capacity, all-gather over tp of gates and choices; then as `init` of
  ///   the kept slots.
  init(choice: ExpertChoice, options: RouterOptions, setting: Setting) throws(Fault) {
    var kept = [Bool](repeating: true, count: choice.experts.count)
    var fill = [[Int]](repeating: [], count: options.experts)
    if let factor = options.capacityFactor {
      (kept, fill) = try Routing.limit(choice, factor, options, setting)
    }
    try self.init(choice: choice, kept: kept, fill: fill, setting: setting)
  }

  /// - Parameters:
  ///   - kept: `[t, k]`, the slots that survived the capacity.
  ///   - fill: for each expert the unchosen rows that fill it up.
  /// - Communication: all-gather of `e` counts over ep, and over etp.
  init(choice: ExpertChoice, kept: [Bool], fill: [[Int]], setting: Setting) throws(Fault) {
    topK = choice.topK
    self.kept = kept
    let t = choice.experts.count / choice.topK
    // Counting sort by expert, rows ascending; filling rows merged in row order.
    var lists = [[(row: Int32, slot: Int32)]](repeating: [], count: choice.expertCount)
    for slot in 0..<t * choice.topK where kept[slot] {
      lists[Int(choice.experts[slot])].append((Int32(slot / choice.topK), Int32(slot)))
    }
    for expert in 0..<choice.expertCount where !fill[expert].isEmpty {
      lists[expert] += fill[expert].map { (Int32($0), -1) }
      lists[expert].sort { $0.row < $1.row }
    }
    let all = lists.flatMap { $0 }
    sentRows = all.map(\.row)
    sentSlots = all.map(\.slot)
    var position = [Int32](repeating: -1, count: t * choice.topK)
    for (i, sent) in all.enumerated() where sent.slot >= 0 { position[Int(sent.slot)] = Int32(i) }
    slotPosition = position
    let exchange = try ExpertCounts(lists.map(\.count), setting: setting)
    sendCounts = exchange.sendCounts
    receiveCounts = exchange.receiveCounts
    blockRows = exchange.blockRows
    (expertRows, expertOffsets) = exchange.expertRows()
    laneOffsets = exchange.laneOffsets(setting.expertLanes, expertOffsets)
  }

  /// The kept slots and the filling rows of this rank's rows under the capacity.
  private static func limit(
    _ choice: ExpertChoice, _ factor: Double, _ options: RouterOptions, _ setting: Setting
  ) throws(Fault) -> ([Bool], [[Int]]) {
    let k = options.topK
    let own = choice.experts.count / k
    let shared = setting.sequenceParallel && options.capacityScope == .group
    guard shared, !setting.engine.isPlanning else {
      let limit = Capacity.limit(
        tokens: own, topK: k, experts: options.experts, factor: factor)
      return Capacity.keep(
        experts: choice.experts, gates: choice.gates, options: options, capacity: limit)
    }
    // Every rank sees the rows of the whole micro-batch and decides alike.
    let rows = setting.routedRows.count
    var experts = [Int32](repeating: -1, count: rows * k)
    var gates = [Float](repeating: 0, count: rows * k)
    experts.replaceSubrange(0..<own * k, with: choice.experts)
    gates.replaceSubrange(0..<own * k, with: choice.gates)
    let tp = setting.groups.tp
    let allExperts = try tp.gather(experts, filler: -1)
    let allGates = try tp.gather(gates, filler: 0)
    let limit = Capacity.limit(
      tokens: setting.layout.realTokens, topK: k, experts: options.experts, factor: factor)
    let (kept, fill) = Capacity.keep(
      experts: allExperts, gates: allGates, options: options, capacity: limit)
    let first = setting.routedRows.lowerBound
    let mine = fill.map { rows in
      rows.filter { setting.routedRows.contains($0) }.map { $0 - first }
    }
    return (Array(kept[first * k..<(first + own) * k]), mine)
  }
}

/// Rows per (source, expert) and what follows from them.
struct ExpertCounts {
  let sendCounts: [Int]
  let receiveCounts: [Int]
  let blockRows: Int
  /// `[etp][ep source][own expert]`
  fileprivate let received: [[[Int]]]

  init(_ perExpert: [Int], setting: Setting) throws(Fault) {
    let ep = setting.groups.ep
    let etp = setting.groups.etp
    let own = perExpert.count / ep.size
    sendCounts = (0..<ep.size).map { perExpert[$0 * own..<($0 + 1) * own].reduce(0, +) }
    let mine = perExpert.map(Int32.init)
    let all: [Int32]
    if setting.engine.isPlanning {
      all = (0..<ep.size * etp.size).flatMap { _ in mine }
    } else {
      all = try etp.gather(try ep.gather(mine, filler: 0), filler: 0)
    }
    let e = perExpert.count
    received = (0..<etp.size).map { p in
      (0..<ep.size).map { source in
        let base = (p * ep.size + source) * e + ep.rank * own
        return (0..<own).map { Int(all[base + $0]) }
      }
    }
    receiveCounts = received[etp.rank].map { $0.reduce(0, +) }
    blockRows =
      etp.size > 1 ? received.map { $0.reduce(0) { $0 + $1.reduce(0, +) } }.max() ?? 0 : 0
  }

  /// Places among the received rows (blocks of etp peers, then sources, then experts), ordered by
  /// expert, source, etp peer: by rank, as neighbours in the world are etp peers. With consecutive
  /// tokens on consecutive ranks that is the order of the tokens, so sums over an expert's rows
  /// have the bits of one rank.
  func expertRows() -> ([Int32], [Int]) {
    let own = received[0][0].count
    var rows: [Int32] = []
    var offsets = [0]
    var starts = received
    for p in received.indices {
      var at = p * blockRows
      for source in received[p].indices {
        for expert in 0..<own {
          starts[p][source][expert] = at
          at += received[p][source][expert]
        }
      }
    }
    for expert in 0..<own {
      for source in received[0].indices {
        for p in received.indices {
          let start = starts[p][source][expert]
          for i in 0..<received[p][source][expert] { rows.append(Int32(start + i)) }
        }
      }
      offsets.append(rows.count)
    }
    return (rows, offsets)
  }
}

extension ExpertCounts {
  /// Rows of an expert lie by source rank, and a lane is a run of sources.
  func laneOffsets(_ lanes: [Int], _ offsets: [Int]) -> [[Int]] {
    guard let last = lanes.last, received.count == 1 else { return [] }
    return (0..<received[0][0].count).map { expert in
      var starts = [Int](repeating: 0, count: last + 2)
      for (source, lane) in lanes.enumerated() { starts[lane + 1] += received[0][source][expert] }
      for lane in 0...last { starts[lane + 1] += starts[lane] }
      return starts.map { $0 + offsets[expert] }
    }
  }
}

extension Communicator {
  /// The arrays of all ranks, one after another. Same length on every rank.
  func gather<T: BitwiseCopyable>(_ values: [T], filler: T) throws(Fault) -> [T] {
    guard size > 1 else { return values }
    var all = [T](repeating: filler, count: values.count * size)
    try values.withUnsafeBufferPointer { (send) throws(Fault) in
      try all.withUnsafeMutableBufferPointer { (receive) throws(Fault) in
        try allGather(UnsafeRawBufferPointer(send), into: UnsafeMutableRawBufferPointer(receive))
      }
    }
    return all
  }
}
