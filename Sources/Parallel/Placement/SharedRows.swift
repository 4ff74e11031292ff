import Support
import Tensor

/// Rows of a whole that the ranks of a group have in runs of their own, in any order: pictures of a
/// tower.
public struct SharedRows: RowGathering {
  let group: any Communicator
  /// Rows of each rank.
  let counts: [Int]
  /// Where each row of the whole lies in the ranks' rows one after another.
  let order: [Int32]
  /// The rows of the whole that this rank has, in its order.
  let own: [Int32]

  public init(group: any Communicator, counts: [Int], order: [Int32]) {
    precondition(counts.count == group.size && order.count == counts.reduce(0, +))
    self.group = group
    self.counts = counts
    self.order = order
    let first = counts[..<group.rank].reduce(0, +)
    var own = [Int32](repeating: 0, count: counts[group.rank])
    for (row, place) in order.enumerated()
    where own.indices.contains(Int(place) - first) { own[Int(place) - first] = Int32(row) }
    self.own = own
  }

  /// - Communication: all-gather of the rows.
  public func whole(_ rows: Tensor) throws(Fault) -> Tensor {
    let all = try group.gathered(rows, counts: counts)
    return try all.rows(at: order)
  }
}

struct CollectShared: Operation {
  static let name: StaticString = "collectShared"
  let rows: SharedRows

  var savedBytes: Int { 0 }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    [try dy.rows(at: rows.own)]
  }
}

extension Context {
  /// `split(0) → same`: all rows in the order of the whole.
  /// - Throws: `PLACE-201`, `SHAPE-101`, `COMM-001`.
  /// - Communication (tp): forward all-gather; backward each rank takes its rows.
  public func collectRows(_ x: Value, _ rows: SharedRows) throws(Fault) -> Value {
    try x.require(.tp, [.split(0)], in: "collectRows")
    guard x.tensor.rows == rows.own.count else {
      throw Fault(
        .badShape, "rows are not those that the ranks were said to have",
        at: .operation("\(CollectShared.name)"), expected: "\(rows.own.count) rows",
        found: "\(x.shape)")
    }
    return tape.record(
      try rows.whole(x.tensor), x.placement.with(.tp, .same), from: [x],
      CollectShared(rows: rows))
  }
}

extension Tensor {
  /// Rows picked by number.
  fileprivate func rows(at numbers: [Int32]) throws(Fault) -> Tensor {
    let picked = try Tensor([numbers.count] + shape.dropFirst(), dtype, on: engine)
    numbers.withUnsafeBufferPointer {
      if let p = $0.baseAddress { engine.gatherRows(self, p, into: picked) }
    }
    return picked
  }
}
