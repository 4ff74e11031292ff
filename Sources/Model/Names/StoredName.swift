import Support

/// Where one of our tensors lies in a Megatron checkpoint: a key, and its place along the leading axes
/// that stack layers and experts.
/// - Source: the layout of `torch_dist` checkpoints (docs/checkpoints.md).
public struct StoredName: Sendable, Equatable {
  public let key: String
  /// Index and length of each leading axis: layer, then expert.
  public let leading: [Axis]

  public struct Axis: Sendable, Equatable {
    public let index: Int
    public let count: Int
  }

  /// The place under which a tensor is written: layers are stacked when all are of one kind.
  public init(_ name: String, _ config: QwenConfig) {
    self = StoredName.candidates(name, config)[config.isUniform ? 0 : 1]
  }

  /// Every place a reader looks at, in order: layers and experts stacked, experts stacked, nothing
  /// stacked. Tensors outside the layers have one place.
  public static func candidates(_ name: String, _ config: QwenConfig) -> [StoredName] {
    guard let layer = LayerName(name) else {
      let plain = StoredName(key: name, leading: [])
      return [plain, plain]
    }
    let stem = config.textPrefix + LayerName.stem
    let stack = Axis(index: layer.index, count: config.layerCount)
    var tail = layer.rest
    var experts: [Axis] = []
    if let expert = layer.expert, let count = config.experts?.count {
      tail = "mlp.experts.experts." + expert.rest
      experts = [Axis(index: expert.index, count: count)]
    }
    var places = [
      StoredName(key: stem + tail, leading: [stack] + experts),
      StoredName(key: stem + "\(layer.index)." + tail, leading: experts),
    ]
    if !experts.isEmpty { places.append(StoredName(key: name, leading: [])) }
    // A local-spec Megatron names the norm before experts like that of a dense layer.
    if tail == "pre_mlp_layernorm.weight" {
      let other = "mlp.linear_fc1.layer_norm_weight"
      places.append(StoredName(key: stem + other, leading: [stack]))
      places.append(StoredName(key: stem + "\(layer.index)." + other, leading: []))
    }
    return places
  }

  private init(key: String, leading: [Axis]) {
    self.key = key
    self.leading = leading
  }
}

/// `decoder.layers.3.mlp.experts.5.linear_fc1.weight` taken apart.
public struct LayerName: Sendable {
  public let index: Int
  public let rest: String
  public let expert: (index: Int, rest: String)?

  static let stem = "decoder.layers."

  public init?(_ name: String) {
    var tail = Substring(name)
    // The text model's weights have a prefix beside a vision tower.
    if tail.hasPrefix("language_model.") { tail = tail.dropFirst("language_model.".count) }
    guard tail.hasPrefix(LayerName.stem) else { return nil }
    let parts = tail.dropFirst(LayerName.stem.count).split(separator: ".", maxSplits: 1)
    guard parts.count == 2, let index = Int(parts[0]) else { return nil }
    self.index = index
    rest = String(parts[1])
    let experts = "mlp.experts."
    if rest.hasPrefix(experts) {
      let tail = rest.dropFirst(experts.count).split(separator: ".", maxSplits: 1)
      if tail.count == 2, let e = Int(tail[0]) {
        expert = (e, String(tail[1]))
        return
      }
    }
    expert = nil
  }
}
