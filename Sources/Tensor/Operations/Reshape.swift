import Support

/// The same elements in other rows.
public struct Reshape: Operation {
  public static let name: StaticString = "reshape"
  let shape: [Int]
  public var savedBytes: Int { 0 }
  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    [dy.reshaped(shape)]
  }
}

extension Tape {
  /// `count` neighbouring rows as one: `[t, h]` → `[t/count, count · h]`.
  /// - Parameter x: `same` or `split(0)` over tp.
  /// - Throws: `SHAPE-101` when the rows do not go into runs of `count`; `PLACE-201`.
  public func joinRows(_ x: Value, count: Int) throws(Fault) -> Value {
    try x.require(.tp, [.same, .split(0)], in: Reshape.name)
    try require(x.tensor.rows % count == 0, Reshape.name, x, "[\(count) · n, h]")
    let y = x.tensor.reshaped([x.tensor.rows / count, count * x.tensor.rowSize])
    return record(y, x.placement, from: [x], Reshape(shape: x.shape))
  }
}
