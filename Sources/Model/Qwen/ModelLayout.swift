import Support
import Tensor

/// The part of the process mesh that decides which weights a rank holds.
public struct ModelLayout: Sendable, Equatable {
  public var tp = (rank: 0, size: 1)
  public var ep = (rank: 0, size: 1)
  public var etp = (rank: 0, size: 1)
  public init() {}

  public static func == (a: ModelLayout, b: ModelLayout) -> Bool {
    a.tp == b.tp && a.ep == b.ep && a.etp == b.etp
  }
}

/// Canonical chunks of the dims of a model that tensor parallelism may split, as this rank sees
/// them (`CanonicalOrder`).
struct ModelChunks {
  let config: QwenConfig
  let layout: ModelLayout

  /// Key/value groups: the unit of the fused projection and of what attention gives.
  var groups: Int { CanonicalOrder.localChunks(config.groupCount, ranks: layout.tp.size) }
  var feedForward: Int {
    CanonicalOrder.localChunks(config.intermediateSize, ranks: layout.tp.size)
  }
  var vocabulary: Int { CanonicalOrder.localChunks(config.vocabularySize, ranks: layout.tp.size) }
  func expert(_ experts: QwenConfig.Experts) -> Int {
    CanonicalOrder.localChunks(experts.intermediateSize, ranks: layout.etp.size)
  }
  /// Groups of one canonical part on this rank.
  var groupsPerPart: Int { config.groupCount / layout.tp.size / groups }
}
