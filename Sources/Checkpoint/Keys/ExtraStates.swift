import Tensor

/// The `_extra_state` objects that Transformer Engine modules keep, one per module and layer.
///
/// Megatron refuses to load without them, and needs nothing of what is in them without fp8. Our
/// reader ignores them; our writer writes them all.
/// - Source: object names of megatron-core 0.13 to 0.16 with Transformer Engine.
public struct ExtraStates: Sendable, Equatable {
  /// What the objects hold.
  public enum Content: Sendable {
    /// An empty byte tensor: Transformer Engine 2.4 and newer.
    case empty
    /// A pickled None in the modules with matrix products: Transformer Engine 2.0 to 2.3.
    case pickledNone
  }

  public enum LayerKind: Sendable, Equatable { case dense, sparse }

  /// Empty, or `language_model.`.
  public let prefix: String
  /// One per layer.
  public let layers: [LayerKind]
  public let experts: Int

  public init(prefix: String = "", layers: [LayerKind], experts: Int = 0) {
    self.prefix = prefix
    self.layers = layers
    self.experts = experts
  }

  /// Layers of one kind are stacked; a mixture is numbered, as Megatron does it.
  public var isStacked: Bool { Set(layers).count <= 1 }

  private static let attention = ["core_attention", "linear_proj", "linear_qkv"]
  private static let attentionNorms = ["q_layernorm", "k_layernorm"]

  /// The keys, and whether the module has matrix products.
  public var keys: [(key: String, hasProducts: Bool)] {
    var keys: [(String, Bool)] = []
    for (i, kind) in layers.enumerated() {
      let offset = isStacked ? [i] : []
      let shape = isStacked ? [layers.count] : []
      func add(_ module: String, _ products: Bool, expert: Int? = nil) {
        let key = MegatronKey(
          module + "._extra_state", prefix: prefix, layer: isStacked ? .stacked : .numbered(i),
          expert: expert == nil ? .none : .stacked)
        var (offset, shape) = (offset, shape)
        if let expert {
          offset.append(expert)
          shape.append(experts)
        }
        if offset.isEmpty { (offset, shape) = ([0], [1]) }
        keys.append((ObjectShard.key(key.stored, offset: offset, shape: shape), products))
      }
      for module in Self.attention { add("self_attention." + module, true) }
      for module in Self.attentionNorms { add("self_attention." + module, false) }
      switch kind {
      case .dense:
        add("mlp.linear_fc1", true)
        add("mlp.linear_fc2", true)
      case .sparse:
        add("pre_mlp_layernorm", false)
        for expert in 0..<experts {
          add("mlp.experts.linear_fc1", true, expert: expert)
          add("mlp.experts.linear_fc2", true, expert: expert)
        }
      }
    }
    let final = prefix + "decoder.final_layernorm._extra_state"
    return keys + [(ObjectShard.key(final, offset: [0], shape: [1]), false)]
  }

  /// The objects to write.
  public func objects(_ content: Content = .empty) -> [ObjectShard] {
    // Protocol 4: PROTO 4, NONE, STOP.
    let none: [UInt8] = [0x80, 4, 0x4E, 0x2E]
    return keys.map { key, products in
      .byteTensor(key, content == .pickledNone && products ? none : [])
    }
  }
}
