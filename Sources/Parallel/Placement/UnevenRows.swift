import Support
import Tensor

// Rows that ranks have in unequal numbers: visual tokens under sequence parallelism, pictures of a
// tower that is shared by whole pictures.
//
//   same     → split(0)  own rows     all-gather      scatterRows(counts:)
//   split(0) → same      all-gather   own rows        collectRows(counts:)

struct UnevenRows: Operation {
  static let name: StaticString = "unevenRows"
  enum Gradient: Sendable { case allGather, ownRows }
  let gradient: Gradient
  let group: any Communicator
  let counts: [Int]
  let dtype: DType

  var savedBytes: Int { 0 }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    switch gradient {
    case .allGather: return [try group.gathered(try dy.converted(to: dtype), counts: counts)]
    case .ownRows: return [try group.ownRows(of: dy, counts: counts)]
    }
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
      UnevenRows(gradient: .allGather, group: groups.tp, counts: counts, dtype: x.dtype))
  }

  /// `split(0) → same`: the rows of all ranks, `counts[r]` from rank r.
  /// - Communication (tp): forward all-gather.
  public func collectRows(_ x: Value, counts: [Int]) throws(Fault) -> Value {
    try x.require(.tp, [.split(0)], in: "collectRows")
    try require(
      counts.count == groups.tp.size && x.tensor.rows == counts[groups.tp.rank], counts, x)
    return tape.record(
      try groups.tp.gathered(x.tensor, counts: counts), x.placement.with(.tp, .same), from: [x],
      UnevenRows(gradient: .ownRows, group: groups.tp, counts: counts, dtype: x.dtype))
  }

  private func require(_ condition: Bool, _ counts: [Int], _ x: Value) throws(Fault) {
    if condition { return }
    throw Fault(
      .badShape, "rows are not those that the ranks were said to have",
      at: .operation("\(UnevenRows.name)"), expected: "\(counts) rows", found: "\(x.shape)")
  }
}
