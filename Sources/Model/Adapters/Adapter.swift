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

extension Adapter where Base == WeightAndBias {
  var trains: Bool { base.trains || adapts }
  /// An adapter is trained: all rows have to lie on every rank.
  var adapts: Bool { pair?.isTrainable ?? false }

  /// A map of the vision tower, whole on every rank.
  /// - Parameters:
  ///   - x: `[p, i]`, `same`, or `split(0)` when nothing is trained or `rows` is given and no adapter
  ///     trained.
  ///   - rows: brings the rows of all ranks together for the base's gradient.
  /// - Returns: `[p, o]`, placed as `x`.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  func callAsFunction(
    _ x: Value, _ rows: SharedRows?, in context: Context
  ) throws(Fault) -> Value {
    let y = try context.tape.affine(x, base.weight, base.bias, rows: rows)
    guard let pair else { return y }
    return try context.adapted(whole: y, pair, x)
  }
}

extension Adapter where Base == VocabParallelEmbedding {
  public var weight: Parameter { base.weight }

  /// - Parameter ids: `[t]` on every rank.
  /// - Returns: `[t, h]` `same`, or `[t/tp, h]` `split(0)`.
  /// - Throws, communication: as the base and `Context.adapted(embedding:…)`.
  func callAsFunction(_ ids: Tensor, in context: Context) throws(Fault) -> Value {
    let y = try base(ids, in: context)
    guard let pair else { return y }
    return try context.adapted(embedding: y, pair, ids, firstID: base.firstID)
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
