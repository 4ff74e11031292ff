import Checkpoint
import Model
import Support

/// The objects a Megatron run with fused layers asks for: one empty state per module and layer.
/// Loading fails without them, though they hold nothing unless fp8 is used.
public enum MegatronObjects {
  /// What Transformer Engine wrote for a module without fp8.
  public enum Form: String, OptionChoice {
    /// No bytes: from 2.4 on.
    case empty
    /// Modules with a matrix hold a pickled None, which every 2.x reads: 2.0 to 2.3 want bytes.
    case pickledNone = "pickled_none"

    func bytes(_ module: String) -> [UInt8] {
      let hasMatrix = module.contains("linear_")
      return self == .pickledNone && hasMatrix ? [0x80, 0x04, 0x4e, 0x2e] : []
    }
  }

  /// - Source: checkpoint.md 4.2.
  static func extraState(_ config: QwenConfig, _ form: Form = .empty) -> [ObjectShard] {
    var objects: [ObjectShard] = []
    let layers = config.layerCount
    func add(_ module: String, layer: Int, expert: (index: Int, count: Int)? = nil) {
      let uniform = config.isUniform
      let stem = config.textPrefix + "decoder.layers."
      let prefix = uniform ? stem : stem + "\(layer)."
      let offset = (uniform ? [layer] : []) + (expert.map { [$0.index] } ?? [])
      let shape = (uniform ? [layers] : []) + (expert.map { [$0.count] } ?? [])
      let key = ObjectShard.key(
        prefix + module + "._extra_state", offset: offset.isEmpty ? [0] : offset,
        shape: shape.isEmpty ? [1] : shape)
      objects.append(.byteTensor(key, form.bytes(module)))
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
    let last = config.textPrefix + "decoder.final_layernorm"
    let key = ObjectShard.key(last + "._extra_state", offset: [0], shape: [1])
    return objects + [.byteTensor(key, form.bytes(last))]
  }
}
