import Support

/// `y = a + b`, rounded once; the gradient goes to both unchanged.
public struct Add: Operation {
  public static let name: StaticString = "add"
  public var savedBytes: Int { 0 }
  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] { [dy, dy] }
}

extension Tape {
  /// - Parameters:
  ///   - a, b: same shape, same placement, neither `partial`.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func add(_ a: Value, _ b: Value) throws(Fault) -> Value {
    try require(a.shape == b.shape, Add.name, b, "\(a.shape)")
    try b.require(.tp, [a.placement.tp], in: Add.name, hint: "both summands must lie alike")
    try a.require(.tp, [.same, .copied, .split(0), .split(1)], in: Add.name)
    let y = try Tensor(a.shape, a.dtype, on: a.tensor.engine)
    y.engine.add(a.tensor, b.tensor, into: y)
    return record(y, a.placement, from: [a, b], Add())
  }
}
