import Checkpoint
import Tensor

/// A box of a whole tensor with the places of its elements in a rank's part of it.
struct StatePiece: Equatable {
  /// In coordinates of the whole tensor.
  var box: Box
  /// Flat ranges of the local tensor that hold the elements of the box, in its row-major order.
  var local: [Range<Int>]
}

/// Cuts a flat run of a rank's tensor into boxes of the whole one.
///
/// An optimizer that is sharded over data-parallel ranks owns flat runs that begin and end anywhere;
/// a checkpoint stores boxes under global coordinates, so that any other layout can find its part.
enum StatePieces {
  /// - Parameters:
  ///   - run: elements of the flat local tensor.
  ///   - merging: boxes that are neighbours along the cut dim become one, so that few are stored; a
  ///     reader that must fill a flat buffer in order leaves them apart.
  /// - Returns: disjoint boxes that hold exactly the elements of the run.
  static func cut(
    _ run: Range<Int>, of slices: ParameterSlices, merging: Bool
  ) -> [StatePiece] {
    guard !run.isEmpty else { return [] }
    // A box that is cut along an inner dim lies in one piece of memory only if it has one row.
    let rowwise = slices.runs.count > 1 ? slices.dim : 0
    var pieces: [StatePiece] = []
    for box in boxes(run, shape: slices.localShape, rowwise: rowwise) {
      pieces += global(box, slices)
    }
    return merging ? merged(pieces, dim: slices.dim) : pieces
  }

  /// The boxes of a flat run, each in one piece of memory: a part of the first row, whole rows, a
  /// part of the last row, and so on inside of the partial rows.
  private static func boxes(
    _ run: Range<Int>, shape: [Int], rowwise: Int
  ) -> [(box: Box, start: Int)] {
    guard shape.count > 1 else {
      return [(Box(offsets: [run.lowerBound], sizes: [run.count]), run.lowerBound)]
    }
    let inner = shape.dropFirst().reduce(1, *)
    var result: [(Box, Int)] = []
    var at = run.lowerBound
    while at < run.upperBound {
      let row = at / inner
      let isWhole = at % inner == 0 && run.upperBound - at >= inner
      if isWhole && rowwise == 0 {
        let rows = (run.upperBound - at) / inner
        result.append(
          (
            Box(
              offsets: [row] + [Int](repeating: 0, count: shape.count - 1),
              sizes: [rows] + shape.dropFirst()), at
          ))
        at += rows * inner
        continue
      }
      let end = min((row + 1) * inner, run.upperBound)
      let rest = boxes(
        at - row * inner..<end - row * inner, shape: Array(shape.dropFirst()),
        rowwise: max(0, rowwise - 1))
      for (box, start) in rest {
        result.append(
          (Box(offsets: [row] + box.offsets, sizes: [1] + box.sizes), row * inner + start))
      }
      at = end
    }
    return result
  }

  /// A box of the local tensor in coordinates of the whole one, cut where the runs of the part end.
  private static func global(
    _ local: (box: Box, start: Int), _ slices: ParameterSlices
  ) -> [StatePiece] {
    let dim = slices.dim
    let wanted =
      local.box.offsets[dim]..<local.box.offsets[dim] + local.box.sizes[dim]
    let unit = local.box.sizes[(dim + 1)...].reduce(1, *)
    var pieces: [StatePiece] = []
    for run in slices.runs.sorted(by: { $0.local < $1.local }) {
      let common = (run.local..<run.local + run.count).clamped(to: wanted)
      guard !common.isEmpty else { continue }
      var box = local.box
      box.offsets[dim] = run.global + common.lowerBound - run.local
      box.sizes[dim] = common.count
      // All of the box, or rows of it: dims before `dim` are single where it is cut.
      let start = local.start + (common.lowerBound - wanted.lowerBound) * unit
      pieces.append(StatePiece(box: box, local: [start..<start + box.count]))
    }
    return pieces
  }

  private static func merged(_ pieces: [StatePiece], dim: Int) -> [StatePiece] {
    var result: [StatePiece] = []
    let sorted = pieces.sorted { $0.box.offsets.lexicographicallyPrecedes($1.box.offsets) }
    for piece in sorted {
      if dim == 0, var last = result.last,
        last.box.offsets[0] + last.box.sizes[0] == piece.box.offsets[0],
        last.box.offsets.dropFirst() == piece.box.offsets.dropFirst(),
        last.box.sizes.dropFirst() == piece.box.sizes.dropFirst()
      {
        last.box.sizes[0] += piece.box.sizes[0]
        last.local += piece.local
        result[result.count - 1] = last
      } else {
        result.append(piece)
      }
    }
    return result
  }
}

extension Range<Int> {
  func shifted(by distance: Int) -> Range<Int> { lowerBound + distance..<upperBound + distance }
}
