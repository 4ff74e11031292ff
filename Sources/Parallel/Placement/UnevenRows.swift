import Support
import Tensor

// Rows that ranks have in unequal numbers, one rank after another: visual tokens under sequence
// parallelism.
//
//   same → split(0)  own rows     all-gather      scatterRows(counts:)

struct UnevenRows: Operation {
  static let name: StaticString = "unevenRows"
  let group: any Communicator
  let counts: [Int]
  let dtype: DType

  var savedBytes: Int { 0 }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    [try group.gathered(try dy.converted(to: dtype), counts: counts)]
  }
}

extension Communicator {
  /// The rows of all ranks, one rank after another; `counts[r]` rows come from rank r.
  func gathered(_ x: Tensor, counts: [Int]) throws(Fault) -> Tensor {
    guard size > 1 else { return x }
    let all = try Tensor(
      [counts.reduce(0, +)] + x.shape.dropFirst(), x.dtype, on: x.engine)
    if !x.engine.isPlanning {
      let bytes = x.rowSize * x.dtype.size
      try allGather(
        UnsafeRawBufferPointer(x.bytes), into: all.bytes, counts: counts.map { $0 * bytes })
    }
    return all
  }

  func ownRows(of x: Tensor, counts: [Int]) throws(Fault) -> Tensor {
    guard size > 1 else { return x }
    let start = counts[..<rank].reduce(0, +)
    return try x.rowRange(start..<start + counts[rank]).copy()
  }
}

extension Context {
  /// `same → split(0)`: rank r takes `counts[r]` rows, one rank after another.
  /// - Communication (tp): backward all-gather.
  public func scatterRows(_ x: Value, counts: [Int]) throws(Fault) -> Value {
    try x.require(.tp, [.same], in: "scatterRows")
    try require(counts.count == groups.tp.size && x.tensor.rows == counts.reduce(0, +), counts, x)
    return tape.record(
      try groups.tp.ownRows(of: x.tensor, counts: counts), x.placement.with(.tp, .split(0)),
      from: [x],
      UnevenRows(group: groups.tp, counts: counts, dtype: x.dtype))
  }

  private func require(_ condition: Bool, _ counts: [Int], _ x: Value) throws(Fault) {
    if condition { return }
    throw Fault(
      .badShape, "rows are not those that the ranks were said to have",
      at: .operation("\(UnevenRows.name)"), expected: "\(counts) rows", found: "\(x.shape)")
  }
}
