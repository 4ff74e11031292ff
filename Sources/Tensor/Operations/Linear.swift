import Support

/// A matrix product with a weight `[out, in]`.
///
///     y[t, o] = x[t, i] · w[o, i]ᵀ        dx = dy · w        dw = dyᵀ · x
///
/// `inputChunks` and `outputChunks` are the canonical chunks of the dims that a layout may split:
/// the forward sum over `i` (row-parallel) and the gradient's sum over `o` (column-parallel).
public struct Linear: Operation {
  public static let name: StaticString = "linear"
  /// nil when the weight is frozen: nothing else needs it.
  let x: SavedTensor?
  let shape: [Int]
  let xType: DType
  let weight: Parameter
  let outputChunks: Int
  /// The input's gradient is a summand: it stays fp32 until the ranks' summands are added.
  let isPartial: Bool

  public var savedBytes: Int { x?.savedBytes ?? 0 }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let dy = try dy.converted(to: xType)
    try weight.addProductGradient(dy, try x?.tensor())
    guard wanting.contains(0) else { return [nil] }
    let dx = try Tensor(shape, isPartial ? .float32 : xType, on: dy.engine)
    dy.engine.multiply(
      Product(.inputGradient, dy, weight.tensor, into: dx, chunks: outputChunks))
    return [dx]
  }
}

extension Parameter {
  /// `gradient += dyᵀ · x`, summed over rows in one chain.
  public func addProductGradient(_ dy: Tensor, _ x: Tensor?) throws(Fault) {
    guard let x, let slot = try gradientSlot() else { return }
    dy.engine.multiply(
      Product(.weightGradient, dy, x, into: slot.tensor, adds: slot.adds))
  }
}

extension Tape {
  /// Outputs split over tp (or whole, in a group of one).
  /// - Parameters:
  ///   - x: `[t, i]`, `copied` over tp.
  ///   - outputChunks: canonical chunks of this rank's outputs.
  /// - Returns: `[t, o/tp]`, `split(1)`, in the type of `x`.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func columnLinear(
    _ x: Value, _ weight: Parameter, outputChunks: Int, recipe: (any Recipe)? = nil
  ) throws(Fault) -> Value {
    try x.require(.tp, [.copied], in: "columnLinear")
    try require(x.tensor.rowSize == weight.shape[1], "columnLinear", x, "[t, \(weight.shape[1])]")
    let y = try Tensor([x.tensor.rows, weight.shape[0]], x.dtype, on: x.tensor.engine)
    y.engine.multiply(Product(.forward, x.tensor, weight.tensor, into: y))
    return record(
      y, x.placement.with(.tp, .split(1)), from: [x], trains: weight.isTrainable,
      Linear(
        x: weight.isTrainable ? SavedTensor(x.tensor, recipe: recipe) : nil, shape: x.shape,
        xType: x.dtype, weight: weight,
        outputChunks: outputChunks, isPartial: true))
  }

  /// Inputs split over tp.
  /// - Parameters:
  ///   - x: `[t, i/tp]`, `split(1)` over tp.
  ///   - inputChunks: canonical chunks of this rank's inputs.
  /// - Returns: `[t, o]` fp32, `partial` over tp.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func rowLinear(
    _ x: Value, _ weight: Parameter, inputChunks: Int, recipe: (any Recipe)? = nil
  ) throws(Fault) -> Value {
    try x.require(.tp, [.split(1)], in: "rowLinear")
    try require(x.tensor.rowSize == weight.shape[1], "rowLinear", x, "[t, \(weight.shape[1])]")
    let y = try Tensor([x.tensor.rows, weight.shape[0]], .float32, on: x.tensor.engine)
    y.engine.multiply(
      Product(.forward, x.tensor, weight.tensor, into: y, chunks: inputChunks))
    return record(
      y, x.placement.with(.tp, .partial), from: [x], trains: weight.isTrainable,
      Linear(
        x: weight.isTrainable ? SavedTensor(x.tensor, recipe: recipe) : nil, shape: x.shape,
        xType: x.dtype, weight: weight,
        outputChunks: 1, isPartial: false))
  }
}
