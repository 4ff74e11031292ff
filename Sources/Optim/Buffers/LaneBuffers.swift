import Support
import Tensor

/// Buffers of experts that get rows of several data-parallel ranks in one micro-batch.
///
/// Each source has a buffer of its own (a lane); lanes are summed over the expert data-parallel ranks
/// one by one and then added as a tree with partners at half the distance first. Data-parallel rank
/// e + EP·i sits at place e of expert group i, so that is the tree of the global batch and the bits
/// are those of one data-parallel rank.
struct LaneBuffers {
  /// The buffer that is judged and applied: lane 0, which ends up with the sum.
  let first: GradientBuffer
  let others: [GradientBuffer]

  /// Adds the reduced lanes into the first.
  func combine() {
    let lanes = [first] + others
    var distance = lanes.count / 2
    while distance >= 1 {
      for i in 0..<distance {
        for range in lanes[i].layout.isSharded ? lanes[i].ownRanges : [0..<lanes[i].layout.count] {
          let sum = lanes[i].flat.elements(range)
          lanes[i].engine.add(sum, lanes[i + distance].flat.elements(range), into: sum)
        }
      }
      distance /= 2
    }
  }
}
