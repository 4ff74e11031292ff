import Checkpoint
import Model
import Support

/// The objects a Megatron run with fused layers asks for: one empty state per module and layer.
/// Loading fails without them, though they hold nothing unless fp8 is used.
enum MegatronObjects {
  static func extraState(_ config: QwenConfig) -> [ObjectShard] {
    var keys: [String] = []
    let layers = config.layerCount
    func add(_ module: String, layer: Int, expert: (index: Int, count: Int)? = nil) {
      let uniform = config.isUniform
      let stem = config.textPrefix + "decoder.layers."
      let prefix = uniform ? stem : stem + "\(layer)."
      let offset = (uniform ? [layer] : []) + (expert.map { [$0.index] } ?? [])
      let shape = (uniform ? [layers] : []) + (expert.map { [$0.count] } ?? [])
      keys.append(
        ObjectShard.key(
          prefix + module + "._extra_state", offset: offset.isEmpty ? [0] : offset,
          shape: shape.isEmpty ? [1] : shape))
    }
    for layer in 0..<layers {
      for module in ["core_attention", "linear_proj", "linear_qkv", "q_layernorm", "k_layernorm"] {
        add("self_attention." + module, layer: layer)
      }
      if config.isSparse(layer: layer), let experts = config.experts {
        add("pre_mlp_layernorm", layer: layer)
        for e in 0..<experts.count {
          for module in ["linear_fc1", "linear_fc2"] {
            add("mlp.experts.experts." + module, layer: layer, expert: (e, experts.count))
          }
        }
      } else {
        add("mlp.linear_fc1", layer: layer)
        add("mlp.linear_fc2", layer: layer)
      }
    }
    keys.append(
      ObjectShard.key(
        config.textPrefix + "decoder.final_layernorm._extra_state", offset: [0], shape: [1]))
    return keys.map { ObjectShard.byteTensor($0, []) }
  }
}
