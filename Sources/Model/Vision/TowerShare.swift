import Support

/// Which temporal slices of a row each rank of a group runs through the tower.
///
/// Slices do not see each other, so they can lie anywhere; the longest goes to the rank with the
/// least work so far. A pure function of the grids: every rank comes to the same plan.
struct TowerShare: Sendable {
  /// One temporal slice, in order of appearance in the row.
  struct Slice: Sendable {
    let grid: PatchGrid
    /// First of its patches in the row.
    let firstPatch: Int
    var patches: Int { grid.slicePatches }
  }

  /// This rank's slices, in order of appearance.
  let own: [Slice]
  /// All slices, in order of appearance.
  let all: [Slice]
  let isShared: Bool
  /// Patches, and tokens, of each rank.
  let patchCounts: [Int]
  let tokenCounts: [Int]
  /// Where each row of the whole lies in the ranks' rows one after another.
  let patchOrder: [Int32]
  let tokenOrder: [Int32]

  init(_ grids: [PatchGrid], config: VisionConfig, rank: Int, of size: Int) {
    let slices = TowerShare.slices(grids)
    all = slices
    isShared = size > 1
    guard isShared else {
      own = slices
      (patchCounts, tokenCounts, patchOrder, tokenOrder) = ([], [], [], [])
      return
    }
    var lots = [[Int]](repeating: [], count: size)
    var loads = [Double](repeating: 0, count: size)
    let costs = slices.map { TowerShare.cost($0, config) }
    for i in slices.indices.sorted(by: { (costs[$0], $1) > (costs[$1], $0) }) {
      let lightest = loads.indices.min { (loads[$0], $0) < (loads[$1], $1) } ?? 0
      lots[lightest].append(i)
      loads[lightest] += costs[i]
    }
    for r in lots.indices { lots[r].sort() }
    own = lots[rank].map { slices[$0] }
    let merged = config.mergedPatches
    patchCounts = lots.map { $0.reduce(0) { $0 + slices[$1].patches } }
    tokenCounts = patchCounts.map { $0 / merged }
    patchOrder = TowerShare.order(lots, slices, unit: 1)
    tokenOrder = TowerShare.order(lots, slices, unit: merged)
  }

  private static func slices(_ grids: [PatchGrid]) -> [Slice] {
    var slices: [Slice] = []
    var first = 0
    for grid in grids {
      for _ in 0..<grid.t {
        slices.append(Slice(grid: grid, firstPatch: first))
        first += grid.slicePatches
      }
    }
    return slices
  }

  /// Products of a block and attention, in multiply-adds per unit of hidden size.
  private static func cost(_ slice: Slice, _ config: VisionConfig) -> Double {
    let n = Double(slice.patches)
    return n * Double(4 * config.hiddenSize + 2 * config.intermediateSize) + 2 * n * n
  }

  private static func order(_ lots: [[Int]], _ slices: [Slice], unit: Int) -> [Int32] {
    var order = [Int32](
      repeating: 0, count: slices.reduce(0) { $0 + $1.patches } / unit)
    var place: Int32 = 0
    for slice in lots.joined().map({ slices[$0] }) {
      let first = slice.firstPatch / unit
      for row in first..<first + slice.patches / unit {
        order[row] = place
        place += 1
      }
    }
    return order
  }
}
