import Parallel
import Support
import Tensor

/// Reduces gradients and gathers weights bucket by bucket: at once, or beside the computation
/// (`overlap_grad_reduce`, `overlap_param_gather`).
///
/// Driven by the thread of the rank. The sums of an element are the same on both ways, so the bits are.
/// - Source: PyTorch DDP (Li et al. 2020) for buckets during the backward pass.
final class BucketExchange: BackwardWatch, @unchecked Sendable {
  private let units: [BucketUnit]
  private let accumulator: GradientAccumulator
  private let scratch: ExchangeScratch
  private let options: OptimizerOptions
  private let engine: Engine
  private var background: BackgroundExchange?
  /// The first unit that is not closed.
  private var next = 0
  /// By unit; nil where the rank's thread has to reduce.
  private(set) var started: [PendingCall?] = []
  private var gathers: [(unit: BucketUnit, call: PendingCall)] = []
  private(set) var times = ExchangeTimes()

  /// - Parameter lanes: every buffer with its lanes, in the order of the accumulator's first buffers.
  init(
    _ lanes: [LaneBuffers], _ accumulator: GradientAccumulator, _ options: OptimizerOptions,
    engine: Engine
  ) {
    units = BucketUnit.units(of: lanes)
    self.accumulator = accumulator
    self.options = options
    self.engine = engine
    scratch = ExchangeScratch(engine: engine)
  }

  private func ownWay(_ unit: BucketUnit) -> ExchangeWay {
    ExchangeWay(group: unit.group, scratch: scratch)
  }

  var unitCount: Int { units.count }
  var uncovered: [String] { background?.uncovered ?? [] }

  // MARK: Gradients

  func beginStep() {
    next = 0
    started = []
    times.reduceWait = 0
    times.reduceWork = 0
  }

  /// Before a backward pass; the first call makes the thread and the doubles of the groups.
  /// - Communication: at the first call collective over the groups.
  /// - Throws: `COMM-…`; what a gathering of weights met that this step begins with.
  func beginMicroBatch() throws(Fault) {
    if options.overlapsReduction, background == nil, units.contains(where: \.isReduced) {
      background = try BackgroundExchange(units.map(\.group), engine: engine)
    }
    for gather in gathers where gather.call.isDone { try gather.call.wait() }
  }

  /// Asked for progress in the last backward pass of a step only.
  var watch: (any BackwardWatch)? {
    background != nil && accumulator.isLast ? self : nil
  }

  /// Closes every unit of which nothing is missing and starts its reduction.
  func gradientsAreComplete(from part: Int) throws(Fault) {
    guard accumulator.isLast else { return }
    while next < units.count, units[next].part >= part {
      for place in units[next].places {
        accumulator.close(buffer: place, bucket: units[next].bucket)
      }
      startNext()
    }
  }

  /// After the last backward pass: starts what is left.
  func endMicroBatches() {
    guard background != nil else { return }
    while next < units.count { startNext() }
  }

  private func startNext() {
    let unit = units[next]
    next += 1
    guard unit.isReduced else { return started.append(nil) }
    started.append(
      background?.start(.reduceScatter, of: unit, bytes: unit.gradientBytes) {
        (way) throws(Fault) in try unit.reduce(by: way)
      })
  }

  /// Sums all gradients over their groups, or waits for the sums that were started.
  /// - Communication: every bucket that was not started, over its group.
  /// - Throws: `COMM-…`, `MEM-001`.
  func reduce() throws(Fault) {
    let start = Clock.monotonicSeconds()
    for (i, unit) in units.enumerated() {
      if i < started.count, let call = started[i] {
        try call.wait()
        times.reduceWork += call.seconds
      } else {
        let begin = Clock.monotonicSeconds()
        try unit.reduce(by: ownWay(unit))
        times.reduceWork += Clock.monotonicSeconds() - begin
      }
    }
    started = []
    times.reduceWait = Clock.monotonicSeconds() - start
  }

  // MARK: Weights

  /// Gives every rank the weights that the others have updated, or starts that: the weights that the
  /// next forward pass reads first come first, and reading one waits for its bucket.
  /// - Communication: the weights over their groups.
  /// - Throws: `COMM-…`, `MEM-001`.
  func gather() throws(Fault) {
    var seconds = 0.0
    for unit in units.reversed() where unit.isGathered {
      if options.overlapsGather, let call = start(unit) {
        for item in unit.parameters { item.parameter.arrival = call }
        gathers.append((unit, call))
        continue
      }
      let begin = Clock.monotonicSeconds()
      try unit.gatherWeights(by: ownWay(unit))
      seconds += Clock.monotonicSeconds() - begin
    }
    // Those that were started are counted when they are complete.
    guard gathers.isEmpty else { return }
    times.gatherWork = seconds
    times.gatherWait = seconds
  }

  private func start(_ unit: BucketUnit) -> PendingCall? {
    background?.start(.allGather, of: unit, bytes: unit.weightBytes) { (way) throws(Fault) in
      try unit.gatherWeights(by: way)
    }
  }

  /// Waits until all weights are here: before they are changed, and where a fault must be known
  /// before something is made of them.
  /// - Throws: `COMM-…`, `MEM-001`: what a gathering met.
  func finishGather() throws(Fault) {
    guard !gathers.isEmpty else { return }
    times.gatherWork = 0
    times.gatherWait = 0
    var fault: Fault?
    for gather in gathers {
      do throws(Fault) { try gather.call.wait() } catch { fault = fault ?? error }
      for item in gather.unit.parameters { item.parameter.arrival = nil }
      times.gatherWork += gather.call.seconds
      times.gatherWait += gather.call.waitedSeconds
    }
    gathers = []
    if let fault { throw fault }
  }
}

/// Seconds of the exchanges of a step on one rank.
public struct ExchangeTimes: Sendable, Equatable {
  /// How long the rank's thread was held up by the reduction of gradients.
  public var reduceWait = 0.0
  /// How long the reductions took, waiting for peers included; more than `reduceWait` when they ran
  /// beside the backward pass.
  public var reduceWork = 0.0
  /// The same for gathering weights, of the update before.
  public var gatherWait = 0.0
  public var gatherWork = 0.0
  public init() {}
}
