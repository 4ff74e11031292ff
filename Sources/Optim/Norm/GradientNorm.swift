import Parallel
import Support
import Tensor

/// The global gradient norm: every distinct element of the model once.
///
/// Distributed or not, each rank looks at its own part of every buffer only; the parts of a
/// data-parallel group are the whole buffer, and of weights that several ranks hold one rank's
/// count. The largest magnitude is looked for in all gradients, so that a NaN in a copy that does
/// not count is seen too.
struct GradientNorm {
  let buffers: [GradientBuffer]
  let world: any Communicator

  /// - Returns: the norm of the reduced gradients, or NaN or infinity, the same on all ranks.
  /// - Communication: one float (maximum) and four integers (sum) over `world`.
  /// - Throws: `COMM-…`.
  func norm() throws(Fault) -> Double {
    var largest: [Float] = [0]
    for part in parts() {
      let magnitude = part.gradient.engine.absMax(part.gradient)
      // `max` drops a NaN on one of its sides.
      if magnitude.isNaN || !(magnitude <= largest[0]) { largest[0] = magnitude }
      if magnitude.isNaN { break }
    }
    if world.size > 1 {
      try largest.withBuffer { (buffer) throws(Fault) in try world.allReduceMax(buffer) }
    }
    guard largest[0].isFinite else { return Double(largest[0]) }
    var sum = ExactSumOfSquares(largest: largest[0])
    for part in parts() where part.counts { sum.add(part.gradient) }
    try sum.combine(over: world)
    return sum.norm
  }

  /// Runs of parameters that lie one after the other and are treated alike: a model of many small
  /// experts is a few long runs, which all threads can share.
  private func parts() -> [(gradient: Tensor, counts: Bool)] {
    var parts: [(gradient: Tensor, counts: Bool)] = []
    for buffer in buffers {
      for range in buffer.judgedRanges {
        var run: (range: Range<Int>, counts: Bool)?
        for piece in buffer.layout.pieces(in: range) {
          let place = piece.start..<piece.start + piece.range.count
          let counts = buffer.parameters[piece.parameter].countsInNorm
          if let open = run, open.range.upperBound == place.lowerBound, open.counts == counts {
            run = (open.range.lowerBound..<place.upperBound, counts)
            continue
          }
          if let run { parts.append((buffer.flat.elements(run.range), run.counts)) }
          run = (place, counts)
        }
        if let run { parts.append((buffer.flat.elements(run.range), run.counts)) }
      }
    }
    return parts
  }
}

extension GradientBuffer {
  /// The parts of the buffer this rank looks at: its shards, or without shards an equal part of
  /// what every rank of the group holds.
  var judgedRanges: [Range<Int>] {
    if layout.isSharded { return ownRanges }
    let rank = group.rank
    return [layout.count * rank / group.size..<layout.count * (rank + 1) / group.size]
  }
}
