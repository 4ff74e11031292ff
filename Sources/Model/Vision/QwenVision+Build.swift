import Parallel
import Support
import Tensor

extension QwenVision {
  /// Before the published names of the tower's weights, which are ours too.
  public static let prefix = "visual.visual."

  /// A tower with uninitialised weights and adapters, whole on every rank.
  /// - Throws: `MEM-001`.
  init(
    _ config: VisionConfig, dtype: DType, adapters: AdapterPlan?, on engine: Engine
  ) throws(Fault) {
    let weights = try VisionWeights(config, dtype: dtype, adapters: adapters, on: engine)
    patches = weights.product("patch_embed.proj")
    positionTable = weights["pos_embed.weight"]
    blocks = (0..<config.depth).map { weights.block("blocks.\($0).") }
    merger = weights.merger("merger.", normsAfterJoining: false)
    deepstackMergers = config.deepstackBlocks.indices.map {
      weights.merger("deepstack_merger_list.\($0).", normsAfterJoining: true)
    }
    parameters = weights.all
    self.config = config
  }
}

/// The parameters of a tower by name.
private struct VisionWeights {
  let config: VisionConfig
  /// Adapters after the weight they are for.
  private(set) var all: [Parameter] = []
  private var byName: [String: Parameter] = [:]
  private var pairs: [String: LowRankPair] = [:]

  init(
    _ config: VisionConfig, dtype: DType, adapters: AdapterPlan?, on engine: Engine
  ) throws(Fault) {
    self.config = config
    for (name, shape) in config.weights {
      // Whole in files as all queries, keys, values; in memory head by head.
      let slices: ParameterSlices =
        name.contains(".attn.qkv.")
        ? .byHead(shape, kinds: 3, heads: config.headCount, size: config.headSize) : .whole(shape)
      let weight = try Parameter(
        QwenVision.prefix + name, slices, dtype, role: Parameter.Role(isReplicated: true),
        on: engine)
      byName[name] = weight
      all.append(weight)
      guard let pair = try adapters?.pair(for: weight, on: engine) else { continue }
      pairs[name] = pair
      all += [pair.a, pair.b]
    }
  }

  subscript(name: String) -> Parameter {
    guard let parameter = byName[name] else { preconditionFailure("no weight \(name)") }
    return parameter
  }

  func pair(_ name: String) -> WeightAndBias {
    WeightAndBias(weight: self[name + ".weight"], bias: self[name + ".bias"])
  }

  func product(_ name: String) -> Adapter<WeightAndBias> {
    Adapter(pair(name), pairs[name + ".weight"])
  }

  func block(_ prefix: String) -> VisionBlock {
    VisionBlock(
      norm1: pair(prefix + "norm1"), qkv: product(prefix + "attn.qkv"),
      projection: product(prefix + "attn.proj"), norm2: pair(prefix + "norm2"),
      up: product(prefix + "mlp.linear_fc1"), down: product(prefix + "mlp.linear_fc2"),
      heads: FusedHeads(groups: config.headCount, ratio: 1, d: config.headSize))
  }

  func merger(_ prefix: String, normsAfterJoining: Bool) -> PatchMerger {
    PatchMerger(
      norm: pair(prefix + "norm"), fc1: product(prefix + "linear_fc1"),
      fc2: product(prefix + "linear_fc2"), normsAfterJoining: normsAfterJoining,
      mergedPatches: config.mergedPatches)
  }
}
