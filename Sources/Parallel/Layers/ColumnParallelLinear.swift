import Support
import Tensor

// t tokens   i inputs   o outputs   x/tp the local part of x

/// Linear map whose output features are split over the tensor-parallel axis.
///
///     y[t, o/tp] = x[t, i] · w[o/tp, i]ᵀ
///     dx = Σ over tp of dy · w        dw = dyᵀ · x
///
/// - Parameter x: `[t, i]`, `copied` over tp; or `[t/tp, i]`, `split(0)`, with sequence parallelism.
/// - Returns: `[t, o/tp]`, `split(1)` over tp.
/// - Throws: `SHAPE-101` if the rows of `x` are not `i` long; `PLACE-201` for another placement.
/// - Communication (tp): forward all-gather of `t·i` elements with sequence parallelism, else none;
///   backward reduce-scatter (the all-gather once more for `dw`), else the all-reduce of
///   `enterRegion`, of the same size.
/// - Saved for backward: the local `x` only; it is gathered again for `dw`. Nothing when frozen.
/// - Source: Shoeybi et al. 2019, section 3; Korthikanti et al. 2022, section 4.2.
public struct ColumnParallelLinear: Sendable {
  public let weight: Parameter  // [o/tp, i]
  /// Canonical chunks of this rank's outputs.
  public let outputChunks: Int

  public init(weight: Parameter, outputChunks: Int) {
    self.weight = weight
    self.outputChunks = outputChunks
  }

  public func callAsFunction(
    _ x: Value, recipe: (any Recipe)? = nil, in context: Context
  ) throws(Fault) -> Value {
    guard context.setting.sequenceParallel else {
      return try context.tape.columnLinear(
        x, weight, outputChunks: outputChunks, recipe: recipe)
    }
    try x.require(.tp, [.split(0)], in: "ColumnParallelLinear")
    guard x.tensor.rowSize == weight.shape[1] else {
      throw Fault(
        .badShape, "ColumnParallelLinear of \(weight.name)", expected: "[t/tp, \(weight.shape[1])]",
        found: "\(x.shape)")
    }
    let tp = context.groups.tp
    let whole = try tp.gathered(x.tensor)
    let y = try Tensor([whole.rows, weight.shape[0]], x.dtype, on: whole.engine)
    y.engine.multiply(Product(.forward, whole, weight.tensor, into: y))
    return context.tape.record(
      y, x.placement.with(.tp, .split(1)), from: [x], trains: weight.isTrainable,
      GatheredLinear(
        x: weight.isTrainable ? SavedTensor(x.tensor, recipe: recipe) : nil, shape: whole.shape,
        dtype: x.dtype, weight: weight, outputChunks: outputChunks, tp: tp))
  }
}

/// The sequence-parallel form: gathers its input, twice.
struct GatheredLinear: Operation {
  static let name: StaticString = "gatheredLinear"
  /// `[t/tp, i]`; nil when the weight is frozen.
  let x: SavedTensor?
  let shape: [Int]  // [t, i]
  let dtype: DType
  let weight: Parameter
  let outputChunks: Int
  let tp: any Communicator

  var savedBytes: Int { x?.savedBytes ?? 0 }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let dy = try dy.converted(to: dtype)
    if let x { try weight.addProductGradient(dy, try tp.gathered(try x.tensor())) }
    guard wanting.contains(0) else { return [nil] }
    let dx = try Tensor(shape, .float32, on: dy.engine)
    dy.engine.multiply(
      Product(.inputGradient, dy, weight.tensor, into: dx, chunks: outputChunks))
    return [try tp.sumScattered(dx, as: dtype)]
  }
}
