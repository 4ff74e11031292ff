import Support

/// A matrix product with a whole weight `[out, in]`, and a bias.
///
///     y[t, o] = b[o] + x[t, i] · w[o, i]ᵀ     dx = dy · w     dw = dyᵀ · x     db = Σ_t dy
///
/// The bias enters before the sum is rounded. Sums over rows are one chain.
public struct Affine: Operation {
  public static let name: StaticString = "affine"
  /// `[t, i]`; nil when the weight is frozen: nothing else needs it.
  let x: Tensor?
  let shape: [Int]
  let xType: DType
  let weight: Parameter  // [o, i]
  let bias: Parameter  // [o]

  public var savedBytes: Int { x?.byteCount ?? 0 }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let engine = dy.engine
    let dy = try dy.converted(to: xType)
    try weight.addProductGradient(dy, x)
    if bias.isTrainable {
      let ones = try Tensor(
        [Float](repeating: 1, count: dy.rows), [dy.rows, 1], dy.dtype, on: engine)
      let sum = try Tensor([1, bias.count], .float32, on: engine)
      engine.multiply(
        Product(.weightGradient, dy, ones, into: sum.reshaped([bias.count, 1])))
      try bias.addTreeSum(of: sum, over: nil)
    }
    guard wanting.contains(0) else { return [nil] }
    let dx = try Tensor(shape, xType, on: engine)
    engine.multiply(Product(.inputGradient, dy, weight.tensor, into: dx))
    return [dx]
  }
}

extension Tape {
  /// - Parameters:
  ///   - x: `[t, i]`, `same` over tp, or `split(0)` when neither weight nor bias is trained.
  ///   - weight: `[o, i]`, or any shape whose rows have `i` elements.
  /// - Returns: `[t, o]`, placed as `x`.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func affine(_ x: Value, _ weight: Parameter, _ bias: Parameter) throws(Fault) -> Value {
    let trains = weight.isTrainable || bias.isTrainable
    try x.requireWholeRows(trains: trains, in: Affine.name)
    try require(
      x.tensor.rowSize == weight.tensor.rowSize, Affine.name, x, "[t, \(weight.tensor.rowSize)]")
    let engine = x.tensor.engine
    let y = try Tensor([x.tensor.rows, weight.shape[0]], x.dtype, on: engine)
    let first = [Int32](repeating: 0, count: y.rows)
    let row = bias.tensor.reshaped([1, bias.count])
    first.withUnsafeBufferPointer { rows in
      if let rows = rows.baseAddress { engine.gatherRows(row, rows, into: y) }
    }
    engine.multiply(Product(.forward, x.tensor, weight.tensor, into: y, adds: true))
    return record(
      y, x.placement, from: [x], trains: trains,
      Affine(
        x: weight.isTrainable ? x.tensor : nil, shape: x.shape, xType: x.dtype, weight: weight,
        bias: bias))
  }
}
