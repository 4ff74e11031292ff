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

  /// - Parameter x: `[p, hv]`, `same`, or `split(0)` when nothing is trained.
  func callAsFunction(_ x: Value, _ rows: TowerRows, in context: Context) throws(Fault) -> Value {
    let tape = context.tape
    let epsilon = QwenVision.epsilon
    let normed = try tape.layerNorm(x, norm1, epsilon: epsilon)
    let fused = try qkv(normed, in: context)
    let rotated = try tape.rotaryEmbedding(fused, heads, rows.angles)
    let mixed = try tape.attention(rotated, heads, rows.slices, causal: false)
    let middle = try tape.add(x, try projection(mixed, in: context))
    let wide = try up(try tape.layerNorm(middle, norm2, epsilon: epsilon), in: context)
    return try tape.add(middle, try down(try tape.gelu(wide, .tanh), in: context))
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

  var trains: Bool { norm.trains || fc1.trains || fc2.trains }

  /// - Parameter x: `[p, hv]` in merge order.
  /// - Returns: `[p / merge², h]`, placed as `x`.
  func callAsFunction(_ x: Value, in context: Context) throws(Fault) -> Value {
    let tape = context.tape
    var x = x
    if normsAfterJoining { x = try tape.joinRows(x, count: mergedPatches) }
    x = try tape.layerNorm(x, norm, epsilon: QwenVision.epsilon)
    if !normsAfterJoining { x = try tape.joinRows(x, count: mergedPatches) }
    let wide = try tape.gelu(try fc1(x, in: context), .exact)
    return try fc2(wide, in: context)
  }
}

extension Tape {
  fileprivate func layerNorm(_ x: Value, _ norm: WeightAndBias, epsilon: Float) throws(Fault)
    -> Value
  {
    try layerNorm(x, norm.weight, norm.bias, epsilon: epsilon)
  }
}
