import Parallel
import Support
import Tensor

/// What is exchanged at once: a bucket of gradients with its lanes, and later the same bucket of
/// weights.
///
/// Unchecked: a unit is handed to the communication thread and taken back by waiting for it; until
/// then nobody touches its part of the buffers.
struct BucketUnit: @unchecked Sendable {
  let lanes: LaneBuffers
  /// Places of the lanes in the accumulator's list of buffers.
  let places: [Int]
  let bucket: Int
  /// The first part of the forward pass that uses one of its weights.
  let part: Int

  private var buffer: GradientBuffer { lanes.first }
  var group: any Communicator { buffer.group }
  var parameters: ArraySlice<OptimizedParameter> {
    buffer.parameters[buffer.layout.members[bucket]]
  }
  private var elements: Int { buffer.layout.buckets[bucket].count }
  var gradientBytes: Int { elements * buffer.gradientType.size * lanes.all.count }
  var weightBytes: Int { elements * buffer.weightType.size }
  /// Ranks hold different parts of its new weights after an update.
  var isGathered: Bool { buffer.layout.isSharded && group.size > 1 && !buffer.engine.isPlanning }
  var isReduced: Bool { group.size > 1 && !buffer.engine.isPlanning }

  /// - Communication: the bucket of every lane over the group.
  /// - Throws: `COMM-…`, `MEM-001`.
  func reduce(by way: ExchangeWay) throws(Fault) {
    for lane in lanes.all { try lane.reduce(bucket, by: way) }
    lanes.combine(bucket, engine: way.engine)
  }

  /// - Communication: the weights of the bucket over the group.
  /// - Throws: `COMM-…`, `MEM-001`.
  func gatherWeights(by way: ExchangeWay) throws(Fault) {
    try buffer.gatherWeights(bucket, by: way)
  }

  /// All units in the order in which a backward pass completes them: a fixed order, because every
  /// rank must exchange them alike, whatever its own rows make it compute.
  static func units(of lanes: [LaneBuffers]) -> [BucketUnit] {
    var units: [BucketUnit] = []
    // As `DistributedOptimizer` hands them to the accumulator: first lanes, then the others.
    var next = lanes.count
    for (i, item) in lanes.enumerated() {
      let places = [i] + Array(next..<next + item.others.count)
      next += item.others.count
      for (bucket, members) in item.first.layout.members.enumerated() {
        let part = item.first.parameters[members].map(\.forwardPart).min() ?? 0
        units.append(BucketUnit(lanes: item, places: places, bucket: bucket, part: part))
      }
    }
    return units.enumerated().sorted {
      (-$0.element.part, $0.offset) < (-$1.element.part, $1.offset)
    }
    .map(\.element)
  }
}
