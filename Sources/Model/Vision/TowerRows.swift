import Foundation
import Parallel
import Support
import Tensor

/// What the tower needs beside its weights for the slices that this rank runs: pixels, learned
/// positions, angles, the reach of attention.
package struct TowerRows: Sendable {
  let pixels: Tensor  // [p, values of a patch] fp32
  let placement: Placement
  /// How the ranks share the rows of patches and of tokens; nil where each has all.
  let shared: Shared?
  package let positions: WeightedRows.Mix  // four rows of the table per patch
  private let all: [TowerShare.Slice]
  package let angles: RotaryAngles  // [p, head/2]
  package let slices: SequenceLayout
  /// Row and column of each patch in its slice.
  package let places: [PatchPlaces.Place]

  /// The rows that the ranks share.
  struct Shared: Sendable {
    let patches: SharedRows
    let tokens: SharedRows
  }

  /// - Parameter group: the ranks that `share` is for.
  init(
    _ input: VisionInput, _ share: TowerShare, _ config: VisionConfig,
    group: any Communicator, on engine: Engine
  ) throws(Fault) {
    guard input.pixels.rowSize == config.patchValues else {
      throw Fault(
        .visionMismatch, "patches of another size than vision_config says",
        expected: "\(config.patchValues) values", found: "\(input.pixels.rowSize)")
    }
    for grid in input.grids {
      guard grid.t > 0, grid.h > 0, grid.w > 0, grid.h % config.mergeSize == 0,
        grid.w % config.mergeSize == 0
      else {
        throw Fault(
          .visionMismatch, "a grid of \(grid.h) × \(grid.w) patches cannot be merged",
          expected: "multiples of \(config.mergeSize)")
      }
    }
    pixels = share.isShared ? try Self.pick(input.pixels, share.own) : input.pixels
    placement = share.isShared ? Placement(tp: .split(0)) : .same
    shared =
      share.isShared
      ? Shared(
        patches: SharedRows(group: group, counts: share.patchCounts, order: share.patchOrder),
        tokens: SharedRows(group: group, counts: share.tokenCounts, order: share.tokenOrder))
      : nil
    all = share.all
    var starts: [Int32] = [0]
    for slice in share.own { starts.append(starts[starts.count - 1] + Int32(slice.patches)) }
    slices = try SequenceLayout(starts: starts, realTokens: Int(starts.last ?? 0), on: engine)
    places = share.own.flatMap { PatchPlaces($0.grid, merge: config.mergeSize).places }
    positions = Self.mix(share.own, config)
    angles = try Self.angles(places, config, on: engine)
  }

  private static func pick(_ pixels: Tensor, _ own: [TowerShare.Slice]) throws(Fault) -> Tensor {
    let count = own.reduce(0) { $0 + $1.patches }
    let picked = try Tensor([count, pixels.rowSize], pixels.dtype, on: pixels.engine)
    guard !pixels.engine.isPlanning else { return picked }
    var row = 0
    for slice in own {
      let from = pixels.rowRange(slice.firstPatch..<slice.firstPatch + slice.patches)
      picked.rowRange(row..<row + slice.patches).bytes.copyMemory(
        from: UnsafeRawBufferPointer(from.bytes))
      row += slice.patches
    }
    return picked
  }

  /// All slices on one rank.
  package init(_ input: VisionInput, _ config: VisionConfig, on engine: Engine) throws(Fault) {
    let share = TowerShare(input.grids, config: config, rank: 0, of: 1)
    try self.init(input, share, config, group: SelfWorld(), on: engine)
  }

  /// The learned positions of the patches of all ranks; nil where each has all.
  func whole(_ config: VisionConfig) -> (rows: any RowGathering, mix: WeightedRows.Mix)? {
    shared.map { ($0.patches, Self.mix(all, config)) }
  }

  /// Bilinear mix of the four neighbours in the square table, corners aligned: rows in the order
  /// (y₀,x₀), (y₀,x₁), (y₁,x₀), (y₁,x₁).
  private static func mix(_ slices: [TowerShare.Slice], _ config: VisionConfig) -> WeightedRows.Mix
  {
    let side = config.positionSide
    var rows: [Int32] = []
    var weights: [Float] = []
    for slice in slices {
      let ys = Taps(count: slice.grid.h, side: side)
      let xs = Taps(count: slice.grid.w, side: side)
      for place in PatchPlaces(slice.grid, merge: config.mergeSize).places {
        let (y, x) = (ys.taps[place.row], xs.taps[place.column])
        for (row, wy) in [(y.low, 1 - y.share), (y.high, y.share)] {
          for (column, wx) in [(x.low, 1 - x.share), (x.high, x.share)] {
            rows.append(Int32(row * side + column))
            weights.append(wy * wx)
          }
        }
      }
    }
    return WeightedRows.Mix(k: 4, rows: rows, weights: weights)
  }

  /// Angles of the row, then of the column of each patch; fp32 angle, functions in double precision.
  private static func angles(
    _ places: [PatchPlaces.Place], _ config: VisionConfig, on engine: Engine
  ) throws(Fault) -> RotaryAngles {
    let half = config.headSize / 2
    let quarter = half / 2
    let cos = try Tensor([places.count, half], .float32, on: engine)
    let sin = try Tensor([places.count, half], .float32, on: engine)
    guard !engine.isPlanning else { return RotaryAngles(cos: cos, sin: sin) }
    let frequencies = (0..<quarter).map { Float(pow(10000, -Double(2 * $0) / Double(half))) }
    let (c, s) = (cos.floats, sin.floats)
    for (p, place) in places.enumerated() {
      for (part, position) in [place.row, place.column].enumerated() {
        for j in 0..<quarter {
          let angle = Double(Float(position) * frequencies[j])
          c[p * half + part * quarter + j] = Float(Foundation.cos(angle))
          s[p * half + part * quarter + j] = Float(Foundation.sin(angle))
        }
      }
    }
    return RotaryAngles(cos: cos, sin: sin)
  }
}

/// Rows and columns of the patches of a slice, in merge order.
package struct PatchPlaces {
  package struct Place: Sendable, Equatable {
    package let row: Int
    package let column: Int
  }
  let places: [Place]

  init(_ grid: PatchGrid, merge: Int) {
    var places: [Place] = []
    places.reserveCapacity(grid.slicePatches)
    for blockRow in 0..<grid.h / merge {
      for blockColumn in 0..<grid.w / merge {
        for i in 0..<merge {
          for j in 0..<merge {
            places.append(Place(row: blockRow * merge + i, column: blockColumn * merge + j))
          }
        }
      }
    }
    self.places = places
  }
}

/// Where `count` patches fall in a table of `side` positions.
private struct Taps {
  let taps: [(low: Int, high: Int, share: Float)]

  init(count: Int, side: Int) {
    taps = (0..<count).map { i in
      let place = count > 1 ? Float(i * (side - 1)) / Float(count - 1) : 0
      let low = min(Int(place), side - 1)
      return (low, min(low + 1, side - 1), place - Float(low))
    }
  }
}
