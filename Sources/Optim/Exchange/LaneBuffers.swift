import Support
import Tensor

/// A buffer with its further lanes: buffers of experts that get rows of several data-parallel ranks in
/// one micro-batch. Every other buffer is its only lane.
///
/// Each source has a buffer of its own (a lane); lanes are summed over the expert data-parallel ranks
/// one by one and then added as a tree with partners at half the distance first. Data-parallel rank
/// e + EP·i sits at place e of expert group i, so that is the tree of the global batch and the bits
/// are those of one data-parallel rank.
struct LaneBuffers {
  /// The buffer that is judged and applied: lane 0, which ends up with the sum.
  let first: GradientBuffer
  let others: [GradientBuffer]

  var all: [GradientBuffer] { [first] + others }

  /// Adds a bucket of the reduced lanes into the first.
  func combine(_ bucket: Int, engine: Engine) {
    let lanes = all
    let range = first.layout.shard(of: bucket, rank: first.group.rank)
    var distance = lanes.count / 2
    while distance >= 1 {
      for i in 0..<distance {
        let sum = lanes[i].flat.elements(range)
        engine.add(sum, lanes[i + distance].flat.elements(range), into: sum)
      }
      distance /= 2
    }
  }
}
