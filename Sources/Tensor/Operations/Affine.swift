import Support

/// A matrix product with a whole weight `[out, in]`, and a bias.
///
///     y[t, o] = b[o] + x[t, i] · w[o, i]ᵀ     dx = dy · w     dw = dyᵀ · x     db = Σ_t dy
///
/// The bias enters before the sum is rounded. Sums over rows are one chain, over the rows of all ranks
/// where they are shared.
public struct Affine: Operation {
  public static let name: StaticString = "affine"
  /// `[t, i]`; nil when the weight is frozen: nothing else needs it.
  let x: Tensor?
  let shape: [Int]
  let xType: DType
  let weight: Parameter  // [o, i]
  let bias: Parameter  // [o]
  let rows: (any RowGathering)?

  public var savedBytes: Int { x?.byteCount ?? 0 }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let engine = dy.engine
    let dy = try dy.converted(to: xType)
    if weight.isTrainable || bias.isTrainable { try addGradients(dy) }
    guard wanting.contains(0) else { return [nil] }
    let dx = try Tensor(shape, xType, on: engine)
    engine.multiply(Product(.inputGradient, dy, weight.tensor, into: dx))
    return [dx]
  }

  private func addGradients(_ own: Tensor) throws(Fault) {
    let dy = try rows?.whole(own) ?? own
    if let x { try weight.addProductGradient(dy, try rows?.whole(x) ?? x) }
    guard bias.isTrainable else { return }
    let ones = try Tensor(
      [Float](repeating: 1, count: dy.rows), [dy.rows, 1], dy.dtype, on: dy.engine)
    let sum = try Tensor([1, bias.count], .float32, on: dy.engine)
    dy.engine.multiply(
      Product(.weightGradient, dy, ones, into: sum.reshaped([bias.count, 1])))
    try bias.addTreeSum(of: sum, over: nil)
  }
}

extension Tape {
  /// - Parameters:
  ///   - x: `[t, i]`, `same` over tp, or `split(0)` when neither weight nor bias is trained or `rows`
  ///     is given.
  ///   - weight: `[o, i]`, or any shape whose rows have `i` elements.
  ///   - rows: brings the rows of all ranks together.
  /// - Returns: `[t, o]`, placed as `x`.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  /// - Communication: with `rows`, backward two gathers: of `[t, o]` and, for the weight, `[t, i]`.
  public func affine(
    _ x: Value, _ weight: Parameter, _ bias: Parameter, rows: (any RowGathering)? = nil
  ) throws(Fault) -> Value {
    let trains = weight.isTrainable || bias.isTrainable
    try x.requireWholeRows(trains: trains && rows == nil, in: Affine.name)
    try require(
      x.tensor.rowSize == weight.tensor.rowSize, Affine.name, x, "[t, \(weight.tensor.rowSize)]")
    let engine = x.tensor.engine
    let y = try Tensor([x.tensor.rows, weight.shape[0]], x.dtype, on: engine)
    let zeros = [Int32](repeating: 0, count: y.rows)
    let row = bias.tensor.reshaped([1, bias.count])
    zeros.withUnsafeBufferPointer {
      if let first = $0.baseAddress { engine.gatherRows(row, first, into: y) }
    }
    engine.multiply(Product(.forward, x.tensor, weight.tensor, into: y, adds: true))
    return record(
      y, x.placement, from: [x], trains: trains,
      Affine(
        x: weight.isTrainable ? x.tensor : nil, shape: x.shape, xType: x.dtype, weight: weight,
        bias: bias, rows: rows))
  }
}
