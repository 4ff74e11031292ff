import Parallel
import Support
import Tensor

/// The groups an optimizer talks to.
public struct OptimizerGroups: Sendable {
  /// Ranks that hold the same dense weights and other rows of the global batch.
  public var dataParallel: any Communicator
  /// Ranks that hold the same experts.
  public var expertDataParallel: any Communicator
  /// All ranks of the job.
  public var world: any Communicator

  public init(
    dataParallel: any Communicator, expertDataParallel: any Communicator,
    world: any Communicator
  ) {
    self.dataParallel = dataParallel
    self.expertDataParallel = expertDataParallel
    self.world = world
  }
}

/// Gradient buffers, sharded states and the update of all trainable weights of a rank.
///
///     beginStep(microBatches: M)
///     M times: beginMicroBatch(m), forward and backward, endMicroBatch(m)
///              (a backward pass that tells backwardWatch where it is has its buckets reduced meanwhile)
///     step(input)   reduce → norm and verdict → clip and update the shard → gather weights
///
/// The result is the same, bit for bit, with and without sharding, at every clipping, offload and
/// thread count, and with `canonicalChunks` at every data-parallel size that divides them.
/// - Source: ZeRO stage 1 (Rajbhandari et al. 2020).
public final class DistributedOptimizer {
  public let options: OptimizerOptions
  public let parameters: [OptimizedParameter]
  public let engine: Engine
  /// Updates so far; t of the bias correction.
  public internal(set) var stepCount = 0
  let groups: OptimizerGroups
  let buffers: [GradientBuffer]
  /// Every buffer with its further lanes.
  let lanes: [LaneBuffers]
  let accumulator: GradientAccumulator
  /// By weight type.
  let parts: [StatePart]
  /// Where the states of each parameter lie, by its name; empty where this rank owns none.
  let places: [String: [(part: Int, segment: Int)]]
  let exchange: BucketExchange
  /// Master weights were imported or taken from the weights; until then an export takes them.
  public internal(set) var hasMasters = false
  private var isReduced = false

  /// - Parameter parameters: trainable ones, in registration order, no name twice.
  /// - Throws: `OPTIM-102`, `OPTIM-103`, `OPTIM-301`, `OPTIM-302`, `MEM-001`.
  public init(
    _ parameters: [OptimizedParameter], groups: OptimizerGroups, options: OptimizerOptions,
    engine: Engine
  ) throws(Fault) {
    try options.validate()
    guard Set(parameters.map(\.parameter.name)).count == parameters.count else {
      throw Fault(.internalError, "two parameters of the optimizer have the same name")
    }
    self.options = options
    self.parameters = parameters
    self.groups = groups
    self.engine = engine
    let tree = try ChunkTree(
      chunks: options.canonicalChunks, dataParallel: groups.dataParallel.size)
    buffers = try DistributedOptimizer.makeBuffers(parameters, groups, options, engine)
    let lanes = try DistributedOptimizer.makeLanes(buffers, options, engine)
    self.lanes = lanes
    accumulator = GradientAccumulator(buffers + lanes.flatMap(\.others), tree: tree)
    exchange = BucketExchange(lanes, accumulator, options, engine: engine)
    parts = try DistributedOptimizer.makeParts(buffers, groups, options, engine)
    places = DistributedOptimizer.places(parts, parameters)
  }

  private static func places(
    _ parts: [StatePart], _ parameters: [OptimizedParameter]
  ) -> [String: [(part: Int, segment: Int)]] {
    var places: [String: [(part: Int, segment: Int)]] = [:]
    for item in parameters { places[item.parameter.name] = [] }
    for (p, part) in parts.enumerated() {
      for (s, segment) in part.store.segments.enumerated() {
        places[parameters[segment.index].parameter.name]?.append((p, s))
      }
    }
    return places
  }

  private static func makeBuffers(
    _ parameters: [OptimizedParameter], _ groups: OptimizerGroups, _ options: OptimizerOptions,
    _ engine: Engine
  ) throws(Fault) -> [GradientBuffer] {
    var buffers: [GradientBuffer] = []
    for isExpert in [false, true] {
      for type in [DType.bfloat16, .float32] {
        let indices = parameters.indices.filter {
          parameters[$0].parameter.role.isExpert == isExpert
            && parameters[$0].parameter.dtype == type
        }
        guard !indices.isEmpty else { continue }
        let members = indices.map { parameters[$0] }
        let group = isExpert ? groups.expertDataParallel : groups.dataParallel
        buffers.append(
          try GradientBuffer(
            members, indices: indices, group: group,
            layout: BufferLayout(
              counts: members.map(\.parameter.count), groupSize: group.size,
              isSharded: options.isDistributed, bucketSize: options.bucketSize),
            gradientType: options.mainGradientType, exchangeType: options.exchangeType,
            lane: isExpert && options.expertLanes > 1 ? 0 : nil, engine: engine))
      }
    }
    let held = buffers.reduce(0) { $0 + $1.parameters.count }
    guard held == parameters.count else {
      let odd = parameters.first {
        $0.parameter.dtype != .float32 && $0.parameter.dtype != .bfloat16
      }
      _ = try options.format(weights: odd?.parameter.dtype ?? .float16)
      return buffers
    }
    return buffers
  }

  /// Every buffer with its further lanes, which expert buffers may have.
  private static func makeLanes(
    _ buffers: [GradientBuffer], _ options: OptimizerOptions, _ engine: Engine
  ) throws(Fault) -> [LaneBuffers] {
    var lanes: [LaneBuffers] = []
    for buffer in buffers {
      var others: [GradientBuffer] = []
      for lane in 1..<(buffer.lane == nil ? 1 : options.expertLanes) {
        others.append(
          try GradientBuffer(
            buffer.parameters, indices: buffer.indices, group: buffer.group,
            layout: buffer.layout, gradientType: options.mainGradientType,
            exchangeType: options.exchangeType, lane: lane, engine: engine))
      }
      lanes.append(LaneBuffers(first: buffer, others: others))
    }
    return lanes
  }

  /// One part per weight type: formats differ between them.
  private static func makeParts(
    _ buffers: [GradientBuffer], _ groups: OptimizerGroups, _ options: OptimizerOptions,
    _ engine: Engine
  ) throws(Fault) -> [StatePart] {
    var parts: [StatePart] = []
    let segments = StateSegment.segments(of: buffers)
    for type in [DType.bfloat16, .float32] {
      let own = segments.filter { buffers[$0.buffer].weightType == type }
      guard !own.isEmpty else { continue }
      let format = try options.format(weights: type)
      parts.append(
        StatePart(
          store: try StateStore(
            own, format: format, offload: options.offload, rank: groups.world.rank,
            engine: engine),
          update: try StateUpdate(format: format, engine: engine)))
    }
    return parts
  }

  /// What a checkpoint calls `param_groups`.
  public var parameterGroups: [ParameterGroup] { ParameterGroup.groups(of: parameters) }

  /// Memory and far bytes of this rank.
  public var bytes: OptimizerBytes {
    let all = buffers + lanes.flatMap(\.others)
    let flat = all.reduce(0) { $0 + $1.flat.byteCount }
    return OptimizerBytes(
      gradients: flat * (1 + accumulator.extraSets),
      near: parts.reduce(0) { $0 + $1.store.nearBytes + $1.update.nearBytes },
      far: parts.reduce(0) { $0 + $1.store.farBytes })
  }

  /// Starts a step of `microBatches` micro-batches of this rank.
  public func beginStep(microBatches: Int) {
    isReduced = false
    accumulator.begin(microBatches: microBatches)
    exchange.beginStep()
  }

  /// Before the backward pass of micro-batch `m`, which is number m·dp + rank of the global batch.
  /// - Throws: `INT-001` if micro-batches come in another order; `MEM-001`; `COMM-…` when weights
  ///   of the last update did not arrive.
  public func beginMicroBatch(_ m: Int) throws(Fault) {
    try exchange.beginMicroBatch()
    try accumulator.beginMicroBatch(m)
  }

  /// Whom the backward pass of the micro-batch under way is to tell where it is; nil when its
  /// gradients are not reduced meanwhile.
  public var backwardWatch: (any BackwardWatch)? { exchange.watch }

  /// After the backward pass of micro-batch `m`.
  public func endMicroBatch(_ m: Int) {
    accumulator.endMicroBatch(m)
    if accumulator.isComplete { exchange.endMicroBatches() }
  }

  /// Waits for weights that other ranks have updated. Reading a weight waits by itself; this is for
  /// places that must know of a failure before they use or keep what they read.
  /// - Throws: `COMM-…`, `MEM-001`.
  public func finishGather() throws(Fault) { try exchange.finishGather() }

  /// Groups whose exchanges cannot run beside the computation, though options ask for it: their
  /// messages go through a library that was started for one thread. Known from the first step on.
  public var uncoveredGroups: [String] { exchange.uncovered }

  /// How long the exchanges of the last step took.
  public var exchangeTimes: ExchangeTimes { exchange.times }

  /// Sums the gradients over the data-parallel ranks; `step` does it if it was not done.
  /// - Communication: every gradient over its group.
  /// - Throws: `INT-001` unless all micro-batches are done; `COMM-…`, `MEM-001`.
  public func reduceGradients() throws(Fault) {
    guard accumulator.isComplete else {
      throw Fault(
        .internalError, "gradients are reduced before the last micro-batch",
        at: .operation("optimizer"))
    }
    guard !isReduced else { return }
    // Own parts of the weights are about to change.
    try exchange.finishGather()
    try exchange.reduce()
    isReduced = true
  }

  /// The reduced gradients were used up.
  func endStep() {
    accumulator.finish()
    isReduced = false
  }
}

/// States of all weights of one type.
struct StatePart {
  let store: StateStore
  let update: StateUpdate
}
