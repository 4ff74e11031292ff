import Parallel
import Support
import Tensor

/// The two parameters of a product or a norm of the tower.
struct WeightAndBias: Sendable {
  let weight: Parameter
  let bias: Parameter
  var trains: Bool { weight.isTrainable || bias.isTrainable }
}

/// One block of the tower: `x + attention(norm(x))`, then `+ mlp(norm(·))`, all with biases.
///
/// Attention sees the whole temporal slice of a picture or clip, both ways.
public struct VisionBlock: Sendable {
  let norm1: WeightAndBias  // [hv]
  /// `[3 · hv, hv]`; in memory head by head its query, key and value rows.
  let qkv: Adapter<WeightAndBias>
  let projection: Adapter<WeightAndBias>  // [hv, hv]
  let norm2: WeightAndBias
  let up: Adapter<WeightAndBias>  // [fv, hv]
  let down: Adapter<WeightAndBias>  // [hv, fv]
  let heads: FusedHeads

  var trains: Bool {
    norm1.trains || norm2.trains || [qkv, projection, up, down].contains(where: \.trains)
  }
  var adapts: Bool { [qkv, projection, up, down].contains(where: \.adapts) }

  /// - Parameter x: `[p, hv]`, placed as `rows` says.
  func callAsFunction(_ x: Value, _ rows: TowerRows, in context: Context) throws(Fault) -> Value {
    let tape = context.tape
    let patches = rows.shared?.patches
    let normed = try tape.layerNorm(x, norm1, patches)
    let fused = try qkv(normed, patches, in: context)
    let rotated = try tape.rotaryEmbedding(fused, heads, rows.angles)
    let mixed = try tape.attention(rotated, heads, rows.slices, causal: false)
    let middle = try tape.add(x, try projection(mixed, patches, in: context))
    let wide = try up(try tape.layerNorm(middle, norm2, patches), patches, in: context)
    return try tape.add(middle, try down(try tape.gelu(wide, .tanh), patches, in: context))
  }
}

/// Neighbouring patches to one token of the text model: norm, two products, exact GELU between.
///
/// The norm is over each patch (`afterJoining` false), or over the joined patches of a token.
public struct PatchMerger: Sendable {
  let norm: WeightAndBias
  let fc1: Adapter<WeightAndBias>  // [merge² · hv, merge² · hv]
  let fc2: Adapter<WeightAndBias>  // [h, merge² · hv]
  let normsAfterJoining: Bool
  let mergedPatches: Int

  var adapts: Bool { fc1.adapts || fc2.adapts }

  /// - Parameters:
  ///   - x: `[p, hv]` in merge order.
  ///   - shared: how the ranks share the rows; nil where each has all.
  /// - Returns: `[p / merge², h]`, placed as `x`.
  func callAsFunction(_ x: Value, _ shared: TowerRows.Shared?, in context: Context) throws(Fault)
    -> Value
  {
    let tape = context.tape
    let tokens = shared?.tokens
    var x = x
    if normsAfterJoining { x = try tape.joinRows(x, count: mergedPatches) }
    x = try tape.layerNorm(x, norm, normsAfterJoining ? tokens : shared?.patches)
    if !normsAfterJoining { x = try tape.joinRows(x, count: mergedPatches) }
    let wide = try tape.gelu(try fc1(x, tokens, in: context), .exact)
    return try fc2(wide, tokens, in: context)
  }
}

extension Tape {
  fileprivate func layerNorm(
    _ x: Value, _ norm: WeightAndBias, _ rows: SharedRows?
  ) throws(Fault) -> Value {
    try layerNorm(x, norm.weight, norm.bias, epsilon: QwenVision.epsilon, rows: rows)
  }
}
