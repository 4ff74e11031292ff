import Support
import Tensor

/// The groups a model talks to. Made from a `ProcessMesh`; a group of one needs no peer.
public struct ModelGroups: Sendable {
  /// Tensor- and sequence-parallel peers: other parts of the same layer, same tokens.
  public var tp: any Communicator
  /// Ranks that hold the other experts.
  public var ep: any Communicator
  /// Ranks that hold other parts of the same experts.
  public var etp: any Communicator
  public init(tp: any Communicator, ep: any Communicator, etp: any Communicator) {
    self.tp = tp
    self.ep = ep
    self.etp = etp
  }
}

/// Everything a layer needs but the tape: passed down explicitly, the same for the two passes of a
/// recomputed block.
public struct Setting: Sendable {
  public var engine: Engine
  public var groups: ModelGroups
  /// Rows of activations between the parallel layers are split over tp.
  public var sequenceParallel: Bool
  public var layout: SequenceLayout
  public var isTraining: Bool
  /// Factors of the loss terms' gradients for this micro-batch.
  public var seeds: LossSeeds
  public var recompute: RecomputeModules
  public var statistics: RouterStatistics?
  public var probe: Probe?
  /// Lane of each rank of the expert-parallel group: ranks that hold parts of the same micro-batch
  /// share one. Empty when gradients of experts need no lanes.
  public var expertLanes: [Int] = []
  /// Generation: whose tokens the rows are, and the keys and values kept of them.
  public var cached: CachedRows?
  /// Ranks that hold the same rows and different experts: in the expert layers each has a share of
  /// the rows.
  public var rowSharers: (any Communicator)?
  /// Choices of experts taken over from another run, for comparing with it.
  public var replay: RoutingReplay?
  /// What the dropout of adapters in this micro-batch is drawn from; nil: nothing is dropped.
  public var dropoutKey: UInt64?
  /// Told how far the backward pass has come, where gradients are reduced meanwhile.
  public var backward: (any BackwardWatch)?

  public init(
    engine: Engine, groups: ModelGroups, sequenceParallel: Bool, layout: SequenceLayout,
    isTraining: Bool = true, seeds: LossSeeds = LossSeeds(), recompute: RecomputeModules = [],
    statistics: RouterStatistics? = nil, probe: Probe? = nil
  ) {
    self.engine = engine
    self.groups = groups
    self.sequenceParallel = sequenceParallel && groups.tp.size > 1
    self.layout = layout
    self.isTraining = isTraining
    self.seeds = seeds
    self.recompute = recompute
    self.statistics = statistics
    self.probe = probe
  }

  /// Rows of one canonical run of a sample row: the cut that sequence parallelism respects.
  public var rowsPerPart: Int { CanonicalOrder.rowsPerChunk(layout.tokens) }

  /// Adds small vectors over the ranks that hold the other rows.
  public var rowExchange: (any RowSumExchange)? {
    sequenceParallel ? TreeExchange(group: groups.tp) : nil
  }
  /// Adds small vectors over the ranks that hold the other heads.
  public var headExchange: (any RowSumExchange)? {
    groups.tp.size > 1 ? TreeExchange(group: groups.tp) : nil
  }
  /// First row of this rank's part of a sequence-parallel row, and how many it has.
  public var ownRows: Range<Int> {
    sequenceParallel ? groups.tp.share(of: 0..<layout.tokens) : 0..<layout.tokens
  }
  /// Those of `ownRows` that this rank sends to experts.
  var routedRows: Range<Int> { rowSharers?.share(of: ownRows) ?? ownRows }
}

extension Communicator {
  /// This rank's share of rows that all ranks of the group divide evenly.
  func share(of rows: Range<Int>) -> Range<Int> {
    let count = rows.count / size
    let start = rows.lowerBound + rank * count
    return start..<start + count
  }
}

/// A setting with the tape it records on.
public struct Context {
  public let tape: Tape
  public let setting: Setting
  public init(tape: Tape, setting: Setting) {
    self.tape = tape
    self.setting = setting
  }
  public var groups: ModelGroups { setting.groups }
}

/// Factors that turn the sums of a micro-batch into its share of the step's gradient.
public struct LossSeeds: Sendable {
  /// Multiplies the sum of token losses.
  public var token: Float = 1
  /// Multiplies the auxiliary losses: a factor, and whether it is times the tokens of the row.
  public var auxiliary: Float = 1
  public var auxiliaryTimesTokens = true
  public init() {}
  public func auxiliary(tokens: Int) -> Float {
    auxiliaryTimesTokens ? auxiliary * Float(tokens) : auxiliary
  }
}

/// `--recompute_modules`.
public struct RecomputeModules: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }
  /// No effect here: attention keeps statistics only.
  public static let coreAttention = RecomputeModules(rawValue: 1)
  public static let expertActivation = RecomputeModules(rawValue: 2)
  public static let layerNorm = RecomputeModules(rawValue: 4)
  public static let mlp = RecomputeModules(rawValue: 8)
  public static let moe = RecomputeModules(rawValue: 16)
  /// Every block of the vision tower (`--vit_gradient_checkpointing`).
  public static let vision = RecomputeModules(rawValue: 32)
}

/// Collects inner values by name (`megatron-parity`, debugging).
///
/// Unchecked: used by the thread that drives the rank only.
public final class Probe: @unchecked Sendable {
  public private(set) var values: [String: Value] = [:]
  public private(set) var routings: [String: RoutingRecord] = [:]
  public init() {}

  /// What a router decided for this rank's rows.
  public struct RoutingRecord: Sendable {
    public let logits: Tensor  // [t/tp, e] fp32
    public let choice: ExpertChoice
    public let kept: [Bool]
  }

  func keep(_ name: String, _ record: RoutingRecord) { routings[name] = record }

  /// Keeps `value` and, after the backward pass, its gradient.
  public func keep(_ name: String, _ value: Value, on tape: Tape) {
    values[name] = value
    tape.watch(value)
  }
}

/// `RowSumExchange` over a group, in tree order.
public struct TreeExchange: RowSumExchange {
  let group: any Communicator
  public init(group: any Communicator) { self.group = group }
  public func sum(_ vector: UnsafeMutableBufferPointer<Float>) throws(Fault) {
    try group.allReduce(vector, order: .adjacentFirst)
  }
}
