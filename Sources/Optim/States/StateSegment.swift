import Support
import Tensor

/// A run of one parameter whose optimizer state this rank owns.
struct StateSegment {
  /// Place of the gradient buffer.
  let buffer: Int
  /// Place of the parameter in that buffer.
  let slot: Int
  /// Place of the parameter in the optimizer's list.
  let index: Int
  /// Elements of this rank's tensor.
  let range: Range<Int>
  /// Place of the first of them in the gradient buffer.
  let gradientStart: Int
  /// The state lies in the far tier.
  var isFar = false

  var count: Int { range.count }

  /// The segments of this rank, in registration order.
  static func segments(of buffers: [GradientBuffer]) -> [StateSegment] {
    var result: [StateSegment] = []
    for (b, buffer) in buffers.enumerated() {
      for range in buffer.ownRanges {
        for piece in buffer.layout.pieces(in: range) {
          result.append(
            StateSegment(
              buffer: b, slot: piece.parameter, index: buffer.indices[piece.parameter],
              range: piece.range, gradientStart: piece.start))
        }
      }
    }
    return result.sorted { ($0.index, $0.range.lowerBound) < ($1.index, $1.range.lowerBound) }
  }
}

/// What is done with a block of states.
enum StatePhase: Sendable {
  /// Finds the largest magnitudes that the new values will have; stores nothing.
  case measure
  /// Stores new values.
  case apply
  /// Reads only.
  case read
}

/// A run of a segment that is updated at once.
struct StateBlock {
  let segment: Int
  /// Elements, counted from the start of the segment.
  let range: Range<Int>
  let phase: StatePhase
}

/// Where the stored states of a block lie.
struct StatePointers {
  let master: UnsafeMutableRawPointer
  let first: UnsafeMutableRawPointer
  let second: UnsafeMutableRawPointer
}
