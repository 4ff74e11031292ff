import Parallel
import Support
import Tensor

// t tokens   h hidden   n query heads   g key/value groups   d head size   f feed-forward
// x/tp: this rank's part; rows are t/tp between the parallel layers with sequence parallelism

/// Norm, fused projection, rotation, attention, output projection.
///
///     y = proj(attention(rope(norm(qkv(norm(x))))))
///
/// - Parameter x: `[t, h]` `same`, or `[t/tp, h]` `split(0)`.
/// - Returns: placed as `x`.
/// - Throws: `SHAPE-101`, `PLACE-201`, `COMM-001`.
/// - Communication: that of the two linear layers.
public struct SelfAttention: Sendable {
  let inputNorm: Parameter  // [h]
  let qkv: Adapter<ColumnParallelLinear>  // [g/tp · (n/g + 2) · d, h]
  let queryNorm: Parameter  // [d]
  let keyNorm: Parameter  // [d]
  let projection: Adapter<RowParallelLinear>  // [h, n/tp · d]
  let heads: FusedHeads
  let epsilon: Float
  let groupsPerPart: Int

  func callAsFunction(_ x: Value, _ angles: RotaryAngles, layer: Int, in context: Context)
    throws(Fault) -> Value
  {
    let setting = context.setting
    let normed = try context.norm(x, inputNorm, epsilon: epsilon)
    let fused = try qkv(
      normed, recipe: context.normRecipe(x, inputNorm, epsilon), in: context)
    let norms = QKNorms(
      query: queryNorm, key: keyNorm, epsilon: epsilon, groupsPerPart: groupsPerPart,
      exchange: setting.headExchange)
    if let probe = setting.probe { probe.keep("layer.\(layer).qkv", fused, on: context.tape) }
    let rotated = try context.tape.qkNormRotary(fused, heads, norms, angles)
    let mixed = try context.attention(rotated, heads, layer: layer)
    return try projection(mixed, in: context)
  }
}

/// The dense feed-forward part: `w₂ · (silu(w_gate · x) · (w_up · x))`.
///
/// - Parameter x: normed `[t, h]` `same`, or `[t/tp, h]` `split(0)`.
public struct DenseMLP: Sendable {
  let input: Adapter<ColumnParallelLinear>  // [2·f/tp, h]
  let output: Adapter<RowParallelLinear>  // [h, f/tp]
  let parts: Int

  func callAsFunction(_ x: Value, recipe: (any Recipe)?, in context: Context) throws(Fault)
    -> Value
  {
    let fused = try input(x, recipe: recipe, in: context)
    let activation = try context.tape.swiGLU(fused, parts: parts)
    return try output(activation, in: context)
  }
}

/// One transformer layer: `x + attention(x)`, then `+ mlp(norm(·))`.
public struct DecoderLayer: Sendable {
  enum FeedForward: Sendable {
    case dense(DenseMLP)
    case sparse(ExpertLayer)
  }

  let index: Int
  let attention: SelfAttention
  let postNorm: Parameter  // [h]
  let feedForward: FeedForward
  let epsilon: Float
  let trains: Bool

  /// - Parameter x: the residual stream, `[t, h]` `same` or `[t/tp, h]` `split(0)`.
  func callAsFunction(_ x: Value, _ angles: RotaryAngles, in context: Context) throws(Fault)
    -> Value
  {
    let name = "layer.\(index)"
    let probe = context.setting.probe
    let attended = try attention(x, angles, layer: index, in: context)
    probe?.keep("\(name).attn", attended, on: context.tape)
    let middle = try context.tape.add(x, attended)
    let mixed = try feed(middle, in: context)
    probe?.keep("\(name).mlp", mixed, on: context.tape)
    return try context.tape.add(middle, mixed)
  }

  private func feed(_ x: Value, in context: Context) throws(Fault) -> Value {
    let modules = context.setting.recompute
    let normed = try context.norm(x, postNorm, epsilon: epsilon)
    let setting = context.setting
    switch feedForward {
    case .dense(let mlp):
      if modules.contains(.mlp) {
        return try context.tape.recompute(normed, trains: trains) { (x, tape) throws(Fault) in
          try mlp(x, recipe: nil, in: Context(tape: tape, setting: setting))
        }
      }
      return try mlp(normed, recipe: context.normRecipe(x, postNorm, epsilon), in: context)
    case .sparse(let experts):
      if modules.contains(.moe) {
        return try context.tape.recompute(normed, trains: trains) { (x, tape) throws(Fault) in
          try experts(x, in: Context(tape: tape, setting: setting))
        }
      }
      return try experts(
        normed, recipe: context.normRecipe(x, postNorm, epsilon), in: context)
    }
  }
}

extension Context {
  /// RMSNorm with the sums over rows that the placement of `x` asks for.
  func norm(_ x: Value, _ weight: Parameter, epsilon: Float) throws(Fault) -> Value {
    try tape.rmsNorm(
      x, weight, epsilon: epsilon, rowsPerPart: setting.rowsPerPart, exchange: setting.rowExchange)
  }

  /// How to make the norm's output again, when `recompute_modules` has `layernorm`.
  func normRecipe(_ x: Value, _ weight: Parameter, _ epsilon: Float) -> (any Recipe)? {
    guard setting.recompute.contains(.layerNorm) else { return nil }
    return RMSNormRecipe(x: x.tensor, weight: weight, epsilon: epsilon)
  }

  /// Before a column-parallel layer: with sequence parallelism the layer gathers by itself.
  func enter(_ x: Value) throws(Fault) -> Value {
    setting.sequenceParallel ? x : try enterRegion(x)
  }
}
