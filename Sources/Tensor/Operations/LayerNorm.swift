import CKernels
import Support

/// Normalisation of each row to mean 0 and variance 1, with weight and bias.
///
///     y[t, h] = n · w + b,   n = (x − mean) · r,   r[t] = 1 / √(mean((x − mean)²) + ε)
///     dx = r · (g − mean(g) − n · mean(g · n)),  g = dy · w     dw = Σ_t dy · n     db = Σ_t dy
///
/// The sums over rows are one chain: rows that are trained lie whole on every rank.
/// - Source: Ba et al. 2016.
public struct LayerNorm: Operation {
  public static let name: StaticString = "layerNorm"
  let x: Tensor  // [t, h]
  let mean: Tensor  // [t] fp32
  let rstd: Tensor  // [t] fp32
  let weight: Parameter  // [h]
  let bias: Parameter  // [h]

  public var savedBytes: Int { mean.byteCount + rstd.byteCount }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let engine = x.engine
    let n = x.rowSize
    let dy = try dy.converted(to: x.dtype)
    let dx = wanting.contains(0) ? try Tensor(x.shape, x.dtype, on: engine) : nil
    let trains = weight.isTrainable || bias.isTrainable
    let sums = trains ? try Tensor([2, n], .float32, on: engine) : nil
    engine.kernel {
      ck_layernorm_backward(
        $0, x.dtype.kernelType, x.rows, n, x.address, weight.tensor.address,
        mean.pointer(as: Float.self), rstd.pointer(as: Float.self), dy.address, dx?.address,
        sums?.pointer(as: Float.self), sums.map { $0.pointer(as: Float.self) + n })
    }
    if let sums {
      if weight.isTrainable { try weight.addTreeSum(of: sums.rowRange(0..<1), over: nil) }
      if bias.isTrainable { try bias.addTreeSum(of: sums.rowRange(1..<2), over: nil) }
    }
    return [dx]
  }
}

extension Tape {
  /// - Parameter x: `[t, h]`, `same` over tp, or `split(0)` when neither weight nor bias is trained.
  /// - Returns: `[t, h]`, placed as `x`.
  /// - Throws: `SHAPE-101` if the rows are not as long as the weight; `PLACE-201`.
  public func layerNorm(
    _ x: Value, _ weight: Parameter, _ bias: Parameter, epsilon: Float
  ) throws(Fault) -> Value {
    let trains = weight.isTrainable || bias.isTrainable
    try x.requireWholeRows(trains: trains, in: LayerNorm.name)
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
      LayerNorm(x: x.tensor, mean: mean, rstd: rstd, weight: weight, bias: bias))
  }
}

extension Value {
  /// Rows must lie whole on every rank where a weight is trained, since its gradient is summed over
  /// them here; split over tp they may be where nothing is.
  /// - Throws: `PLACE-201`.
  package func requireWholeRows(trains: Bool, in operation: StaticString) throws(Fault) {
    try require(
      .tp, trains ? [.same] : [.same, .split(0)], in: operation,
      hint: "a trained weight needs all rows on every rank")
  }
}
