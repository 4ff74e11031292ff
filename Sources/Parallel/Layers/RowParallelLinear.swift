import Support
import Tensor

/// Linear map whose input features are split over the tensor-parallel axis.
///
///     y[t, o] = Σ over tp of x[t, i/tp] · w[o, i/tp]ᵀ
///     dx = dy · w        dw = dyᵀ · x
///
/// - Parameter x: `[t, i/tp]`, `split(1)` over tp.
/// - Returns: `[t, o]`, `same`; or `[t/tp, o]`, `split(0)`, with sequence parallelism.
/// - Throws: `SHAPE-101`, `PLACE-201`.
/// - Communication (tp): forward all-reduce of `t·o` fp32 elements, or reduce-scatter; backward
///   none, or all-gather.
/// - Saved for backward: the local `x`.
/// - Source: as `ColumnParallelLinear`.
public struct RowParallelLinear: Sendable {
  public let weight: Parameter  // [o, i/tp]
  /// Canonical chunks of this rank's inputs.
  public let inputChunks: Int

  public init(weight: Parameter, inputChunks: Int) {
    self.weight = weight
    self.inputChunks = inputChunks
  }

  public func callAsFunction(
    _ x: Value, recipe: (any Recipe)? = nil, in context: Context
  ) throws(Fault) -> Value {
    let partial = try context.tape.rowLinear(x, weight, inputChunks: inputChunks, recipe: recipe)
    return try context.leaveRegion(partial, as: x.dtype)
  }
}
