import CKernels
import Support

/// Normalisation of each row to mean 0 and variance 1, with weight and bias.
///
///     y[t, h] = n · w + b,   n = (x − mean) · r,   r[t] = 1 / √(mean((x − mean)²) + ε)
///     dx = r · (g − mean(g) − n · mean(g · n)),  g = dy · w     dw = Σ_t dy · n     db = Σ_t dy
///
/// The sums over rows are one chain, over the rows of all ranks where they are shared.
/// - Source: Ba et al. 2016.
public struct LayerNorm: Operation {
  public static let name: StaticString = "layerNorm"
  let x: Tensor  // [t, h]
  let mean: Tensor  // [t] fp32
  let rstd: Tensor  // [t] fp32
  let weight: Parameter  // [h]
  let bias: Parameter  // [h]
  let rows: (any RowGathering)?

  public var savedBytes: Int { mean.byteCount + rstd.byteCount }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let dy = try dy.converted(to: x.dtype)
    let dx = wanting.contains(0) ? try Tensor(x.shape, x.dtype, on: x.engine) : nil
    let trains = weight.isTrainable || bias.isTrainable
    let sums = trains ? try Tensor([2, x.rowSize], .float32, on: x.engine) : nil
    if let rows, let sums {
      run(x, mean, rstd, dy, dx: dx, sums: nil)
      run(
        try rows.whole(x), try rows.whole(mean), try rows.whole(rstd), try rows.whole(dy), dx: nil,
        sums: sums)
    } else {
      run(x, mean, rstd, dy, dx: dx, sums: sums)
    }
    if let sums {
      if weight.isTrainable { try weight.addTreeSum(of: sums.rowRange(0..<1), over: nil) }
      if bias.isTrainable { try bias.addTreeSum(of: sums.rowRange(1..<2), over: nil) }
    }
    return [dx]
  }

  private func run(
    _ x: Tensor, _ mean: Tensor, _ rstd: Tensor, _ dy: Tensor, dx: Tensor?, sums: Tensor?
  ) {
    let n = x.rowSize
    guard dx != nil || sums != nil else { return }
    x.engine.kernel {
      ck_layernorm_backward(
        $0, x.dtype.kernelType, x.rows, n, x.address, weight.tensor.address,
        mean.pointer(as: Float.self), rstd.pointer(as: Float.self), dy.address, dx?.address,
        sums?.pointer(as: Float.self), sums.map { $0.pointer(as: Float.self) + n })
    }
  }
}

extension Tape {
  /// - Parameters:
  ///   - x: `[t, h]`, `same` over tp, or `split(0)` when neither weight nor bias is trained or `rows`
  ///     is given.
  ///   - rows: brings the rows of all ranks together.
  /// - Returns: `[t, h]`, placed as `x`.
  /// - Throws: `SHAPE-101` if the rows are not as long as the weight; `PLACE-201`.
  /// - Communication: with `rows`, backward two gathers of `[t, h]` and two of `[t]`.
  public func layerNorm(
    _ x: Value, _ weight: Parameter, _ bias: Parameter, epsilon: Float,
    rows: (any RowGathering)? = nil
  ) throws(Fault) -> Value {
    let trains = weight.isTrainable || bias.isTrainable
    try x.requireWholeRows(trains: trains && rows == nil, in: LayerNorm.name)
    try require(
      x.tensor.rowSize == weight.count && bias.count == weight.count, LayerNorm.name, x,
      "[t, \(weight.count)]")
    let engine = x.tensor.engine
    let y = try Tensor(x.shape, x.dtype, on: engine)
    let mean = try Tensor([x.tensor.rows], .float32, on: engine)
    let rstd = try Tensor([x.tensor.rows], .float32, on: engine)
    engine.kernel {
      ck_layernorm_forward(
        $0, x.dtype.kernelType, x.tensor.rows, x.tensor.rowSize, x.tensor.address,
        weight.tensor.address, bias.tensor.address, epsilon, y.address,
        mean.pointer(as: Float.self), rstd.pointer(as: Float.self))
    }
    return record(
      y, x.placement, from: [x], trains: trains,
      LayerNorm(x: x.tensor, mean: mean, rstd: rstd, weight: weight, bias: bias, rows: rows))
  }
}

extension Value {
  /// Rows must lie whole on every rank where a weight is trained and nothing brings them together,
  /// since its gradient is summed over them here; else they may be split over tp.
  /// - Throws: `PLACE-201`.
  package func requireWholeRows(trains: Bool, in operation: StaticString) throws(Fault) {
    try require(
      .tp, trains ? [.same] : [.same, .split(0)], in: operation,
      hint: "a trained weight needs all rows on every rank")
  }
}
