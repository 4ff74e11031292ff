import Parallel
import Support
import Tensor

/// Finds out who made a gradient NaN or infinite, once it is known that somebody did.
///
/// After a reduce-scatter a rank still holds its own summands of the other ranks' shards: a
/// non-finite number there is its own. Otherwise the owner of the spoilt shard is named (its own
/// summand, or a sum that overflowed).
struct NonFiniteReport {
  let buffers: [GradientBuffer]
  let world: any Communicator

  /// - Returns: the same fault on every rank.
  /// - Communication: a few words over `world`.
  /// - Throws: `COMM-…`.
  func fault(iteration: Int) throws(Fault) -> Fault {
    let own = culprit(inShards: false)
    let summed = own == nil ? culprit(inShards: true) : nil
    // Ranks that found their own summand come before ranks that own a spoilt sum.
    let size = Int64(world.size)
    var bid: [Int64] = [0]
    if own != nil { bid[0] = 2 * size - Int64(world.rank) }
    if summed != nil { bid[0] = size - Int64(world.rank) }
    try bid.withBuffer { (buffer) throws(Fault) in try world.allReduceMax(buffer) }
    guard bid[0] > 0 else {
      return Fault(.nonFiniteGradient, "a gradient of iteration \(iteration) is not finite")
    }
    let isOwn = bid[0] > size
    let rank = Int((isOwn ? 2 * size : size) - bid[0])
    let name = try shared(own ?? summed ?? "", from: rank)
    return Fault(
      .nonFiniteGradient,
      "the gradient of \(name) is not finite in iteration \(iteration)"
        + (isOwn ? "" : " after summing over ranks"),
      at: .rank(rank), expected: "finite numbers",
      fix: "lower lr, lengthen the warmup, or look at the rows of this step; "
        + "check_for_nan_in_loss_and_grad false goes on regardless")
  }

  private func culprit(inShards: Bool) -> String? {
    for buffer in buffers {
      let shards = buffer.ownRanges
      for (i, item) in buffer.parameters.enumerated() {
        for part in buffer.layout.slots[i].range.parts(inside: inShards, of: shards)
        where !buffer.engine.absMax(buffer.flat.elements(part)).isFinite {
          return item.parameter.name
        }
      }
    }
    return nil
  }

  private func shared(_ name: String, from root: Int) throws(Fault) -> String {
    var bytes = [UInt8](repeating: 0, count: 256)
    for (i, byte) in name.utf8.prefix(256).enumerated() { bytes[i] = byte }
    try bytes.withBuffer { (buffer) throws(Fault) in
      try world.broadcast(UnsafeMutableRawBufferPointer(buffer), from: root)
    }
    return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
  }
}

extension Range<Int> {
  /// What of this range lies inside (or outside) the ascending, disjoint `others`.
  func parts(inside: Bool, of others: [Range<Int>]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    var start = lowerBound
    for other in others {
      let common = clamped(to: other)
      guard !common.isEmpty else { continue }
      if inside {
        result.append(common)
      } else if common.lowerBound > start {
        result.append(start..<common.lowerBound)
      }
      start = common.upperBound
    }
    if !inside, start < upperBound { result.append(start..<upperBound) }
    return result
  }
}
