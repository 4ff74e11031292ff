import Parallel
import Support
import Tensor

/// A linear map with or without an adapter beside it.
///
///     y = w · x + s · B · (A · drop(x))
///
/// The base knows nothing of its adapter: without one this is the base.
public struct Adapter<Base: Sendable>: Sendable {
  public let base: Base
  public let pair: LowRankPair?

  init(_ base: Base, _ pair: LowRankPair?) {
    self.base = base
    self.pair = pair
  }
}

extension Adapter where Base == ColumnParallelLinear {
  var weight: Parameter { base.weight }

  /// - Parameter x: `[t, i]` `same`, or `[t/tp, i]` `split(0)` with sequence parallelism; it enters
  ///   the region here.
  /// - Returns: `[t, o/tp]`, `split(1)`.
  /// - Throws, communication: as the base and `Context.adapted(column:…)`.
  func callAsFunction(
    _ x: Value, recipe: (any Recipe)? = nil, in context: Context
  ) throws(Fault) -> Value {
    let y = try base(try context.enter(x), recipe: recipe, in: context)
    guard let pair else { return y }
    return try context.adapted(
      column: y, pair, x, recipe: recipe, outputChunks: base.outputChunks)
  }
}

extension Adapter where Base == RowParallelLinear {
  var weight: Parameter { base.weight }
  var inputChunks: Int { base.inputChunks }

  /// - Parameter x: `[t, i/tp]`, `split(1)`.
  /// - Returns: `[t, o]` `same`, or `[t/tp, o]` `split(0)`.
  /// - Throws, communication: as the base and `Context.adapted(row:…)`.
  func callAsFunction(_ x: Value, in context: Context) throws(Fault) -> Value {
    let y = try base(x, in: context)
    guard let pair else { return y }
    return try context.adapted(row: y, pair, x, inputChunks: base.inputChunks)
  }
}
