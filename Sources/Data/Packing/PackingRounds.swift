/// Packs a long list round by round: each round takes the last bin of the one before and the next
/// items, so that little is left half full.
public struct PackingRounds<Item: Sendable>: Sendable {
  /// Rows per round of a list, and of a stream (`packing_interval`).
  public static var listRound: Int { 1000 }
  public static var streamRound: Int { 128 }

  private let capacity: Int
  private var carried: [(item: Item, length: Int)] = []

  /// - Parameter capacity: tokens a pack may hold.
  public init(capacity: Int) { self.capacity = capacity }

  /// The items that are carried into the next round.
  var carriedItems: [Item] { carried.map { $0.item } }

  /// Goes on with what was carried when the rounds were stopped.
  mutating func restore(_ items: [(item: Item, length: Int)]) { carried = items }

  /// Packs the carried items and `items`.
  /// - Parameter isLast: true empties everything; else the last opened bin is carried on.
  /// - Returns: packs in order, items in the order they went in.
  public mutating func round(
    _ items: [(item: Item, length: Int)], isLast: Bool
  ) -> [[Item]] {
    let pool = carried + items
    carried = []
    var bins = FullestFit.bins(pool.map(\.length), capacity: capacity)
    if !isLast, let last = bins.popLast() { carried = last.map { pool[$0] } }
    return bins.map { $0.map { pool[$0].item } }
  }
}

/// Packs of a whole list.
public enum Packing {
  /// - Parameters:
  ///   - lengths: tokens of each row.
  ///   - capacity: `--packing_length`, or `--max_length` where it is not set.
  ///   - roundSize: rows that enter per round.
  /// - Returns: row indices of each pack.
  public static func packs(
    lengths: [Int], capacity: Int, roundSize: Int = PackingRounds<Int>.listRound
  ) -> [[Int]] {
    var rounds = PackingRounds<Int>(capacity: capacity)
    var packs: [[Int]] = []
    var start = 0
    while start < lengths.count {
      let end = min(start + max(roundSize, 1), lengths.count)
      packs += rounds.round(
        (start..<end).map { ($0, lengths[$0]) }, isLast: end == lengths.count)
      start = end
    }
    return packs
  }
}
