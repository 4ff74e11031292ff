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
  let qkv: WeightAndBias
  let projection: WeightAndBias  // [hv, hv]
  let norm2: WeightAndBias
  let up: WeightAndBias  // [fv, hv]
  let down: WeightAndBias  // [hv, fv]
  let heads: FusedHeads

  var trains: Bool { [norm1, qkv, projection, norm2, up, down].contains(where: \.trains) }

  /// - Parameter x: `[p, hv]`, placed as `rows` says.
  func callAsFunction(_ x: Value, _ rows: TowerRows, in context: Context) throws(Fault) -> Value {
    let tape = context.tape
    let patches = rows.shared?.patches
    let normed = try tape.layerNorm(x, norm1, patches)
    let fused = try tape.affine(normed, qkv, patches)
    let rotated = try tape.rotaryEmbedding(fused, heads, rows.angles)
    let mixed = try tape.attention(rotated, heads, rows.slices, causal: false)
    let middle = try tape.add(x, try tape.affine(mixed, projection, patches))
    let wide = try tape.affine(try tape.layerNorm(middle, norm2, patches), up, patches)
    return try tape.add(
      middle, try tape.affine(try tape.gelu(wide, .tanh), down, patches))
  }
}

/// Neighbouring patches to one token of the text model: norm, two products, exact GELU between.
///
/// The norm is over each patch (`afterJoining` false), or over the joined patches of a token.
public struct PatchMerger: Sendable {
  let norm: WeightAndBias
  let fc1: WeightAndBias  // [merge² · hv, merge² · hv]
  let fc2: WeightAndBias  // [h, merge² · hv]
  let normsAfterJoining: Bool
  let mergedPatches: Int

  var trains: Bool { [norm, fc1, fc2].contains(where: \.trains) }

  /// - Parameter x: `[p, hv]` in merge order.
  /// - Returns: `[p / merge², h]`, placed as `x`.
  func callAsFunction(_ x: Value, _ rows: TowerRows, in context: Context) throws(Fault) -> Value {
    let tape = context.tape
    let tokens = rows.shared?.tokens
    var x = x
    if normsAfterJoining { x = try tape.joinRows(x, count: mergedPatches) }
    x = try tape.layerNorm(x, norm, normsAfterJoining ? tokens : rows.shared?.patches)
    if !normsAfterJoining { x = try tape.joinRows(x, count: mergedPatches) }
    let wide = try tape.gelu(try tape.affine(x, fc1, tokens), .exact)
    return try tape.affine(wide, fc2, tokens)
  }
}

extension Tape {
  fileprivate func layerNorm(
    _ x: Value, _ norm: WeightAndBias, _ rows: SharedRows?
  ) throws(Fault) -> Value {
    try layerNorm(x, norm.weight, norm.bias, epsilon: QwenVision.epsilon, rows: rows)
  }
  func affine(_ x: Value, _ product: WeightAndBias, _ rows: SharedRows?) throws(Fault) -> Value {
    try affine(x, product.weight, product.bias, rows: rows)
  }
}
