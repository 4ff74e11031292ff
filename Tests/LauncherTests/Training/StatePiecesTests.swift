import Checkpoint
import Tensor
import Testing

@testable import Launcher

@Suite("Flat runs of a rank's tensor as boxes of the whole one")
struct StatePiecesTests {
  /// Flat places of a box in a tensor, in the row-major order of the box.
  private func places(_ box: Box, in shape: [Int]) -> [Int] {
    var result = [0]
    for axis in shape.indices {
      result = result.flatMap { base in
        (box.offsets[axis]..<box.offsets[axis] + box.sizes[axis]).map { base * shape[axis] + $0 }
      }
    }
    return result
  }

  /// For each element of the local tensor its flat place in the whole one.
  private func table(_ slices: ParameterSlices) -> [Int] {
    let before = slices.localShape[..<slices.dim].reduce(1, *)
    let after = slices.localShape[(slices.dim + 1)...].reduce(1, *)
    var local = [Int](repeating: -1, count: slices.localShape.reduce(1, *))
    for outer in 0..<before {
      for run in slices.runs {
        for i in 0..<run.count {
          for inner in 0..<after {
            local[(outer * slices.localShape[slices.dim] + run.local + i) * after + inner] =
              (outer * slices.globalShape[slices.dim] + run.global + i) * after + inner
          }
        }
      }
    }
    return local
  }

  private static let cuts: [ParameterSlices] = [
    .whole([37]), .whole([5, 7]), .whole([3, 2, 4, 5]),
    .even([12, 5], dim: 0, rank: 1, of: 3), .even([6, 12], dim: 1, rank: 2, of: 4),
    .gated(width: 16, columns: 3, chunks: 8, rank: 0, of: 1),
    .gated(width: 16, columns: 3, chunks: 8, rank: 1, of: 2),
    ParameterSlices(
      globalShape: [3, 10, 2], dim: 1,
      runs: [.init(local: 0, global: 6, count: 2), .init(local: 2, global: 1, count: 3)]),
  ]

  @Test("the boxes of any run hold its elements once, in the order they say", arguments: cuts)
  func everyElementOnce(_ slices: ParameterSlices) {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("seed \(seed)")
    var numbers = SplitMix(state: seed)
    let table = table(slices)
    for round in 0..<60 {
      let a = Int.random(in: 0...table.count, using: &numbers)
      let b = round == 0 ? table.count - a : Int.random(in: 0...table.count, using: &numbers)
      let run = min(a, b)..<max(a, b)
      for merging in [false, true] {
        let pieces = StatePieces.cut(run, of: slices, merging: merging)
        var seen: [Int] = []
        for piece in pieces {
          let own = piece.local.flatMap { Array($0) }
          #expect(places(piece.box, in: slices.globalShape) == own.map { table[$0] })
          if !merging { #expect(piece.local.count == 1) }
          seen += own
        }
        #expect(seen.sorted() == Array(run))
      }
    }
  }

  @Test("runs that are neighbours in the whole tensor become one box")
  func merging() {
    let slices = ParameterSlices.gated(width: 16, columns: 3, chunks: 8, rank: 0, of: 1)
    let pieces = StatePieces.cut(0..<96, of: slices, merging: true)
    #expect(pieces.map(\.box) == [Box(shape: [32, 3])])
    #expect(pieces[0].local.count == 16)
  }
}
