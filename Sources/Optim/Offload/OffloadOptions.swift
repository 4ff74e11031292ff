/// Where the far part of the optimizer state lives (`optimizer_cpu_offload`).
public enum OffloadTier: Sendable, Equatable {
  /// A file in this folder, on a local disk; streamed through the update.
  case folder(String)
  /// Memory of another NUMA node of this host.
  case numaNode(Int)
}

/// Which part of the optimizer state is kept out of near memory.
public struct OffloadOptions: Sendable, Equatable {
  /// Part of this rank's elements, in 0...1: whole shards of tensors, in registration order,
  /// until it is reached.
  public var fraction: Double
  public var tier: OffloadTier
  /// Elements of a block that is read, updated and written at once: a multiple of 64, at most
  /// 262144. Four blocks are in memory.
  public var blockElements = 1 << 18

  public init(fraction: Double = 1, tier: OffloadTier) {
    self.fraction = fraction
    self.tier = tier
  }

  /// How many of the leading shards go to the far tier.
  static func farCount(_ counts: [Int], fraction: Double) -> Int {
    let wanted = fraction * Double(counts.reduce(0, +))
    var sum = 0
    for (i, count) in counts.enumerated() {
      if Double(sum) >= wanted { return i }
      sum += count
    }
    return counts.count
  }
}
