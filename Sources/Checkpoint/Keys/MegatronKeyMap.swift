import Tensor

/// Finds the stored tensors of a parameter whatever form the checkpoint has.
///
///     let map = MegatronKeyMap(reader.index.keys)
///     map.find("mlp.experts.linear_fc1.weight", layer: 3, expert: 7)
///     // stacked: ("decoder.layers.mlp.experts.experts.linear_fc1.weight", leading [3, 7])
public struct MegatronKeyMap: Sendable {
  /// A stored tensor, or the slice of it at `leading` of its first dimensions.
  public struct Place: Sendable, Equatable {
    public let key: String
    public let leading: [Int]
    /// Gate rows, up rows, or both.
    public let half: MegatronKey.Half
  }

  /// The prefix that the keys have: empty, or `language_model.`.
  public let prefix: String
  /// All parameters by name, whatever layer or expert they belong to.
  public let names: Set<String>
  private let keys: Set<String>

  /// - Parameter keys: of a checkpoint; optimizer states and objects are left out.
  public init(_ keys: some Sequence<String>) {
    var kept: Set<String> = []
    var names: Set<String> = []
    var prefix = ""
    for key in keys where !key.hasPrefix("optimizer.") && !key.hasPrefix("chained_") {
      let parsed = MegatronKey(stored: key)
      kept.insert(key)
      names.insert(parsed.name)
      if !parsed.prefix.isEmpty { prefix = parsed.prefix }
    }
    self.keys = kept
    self.names = names
    self.prefix = prefix
  }

  /// Where a parameter is stored: one place, or gate and up apart, or none.
  /// - Parameters:
  ///   - name: as `MegatronKey.name`.
  ///   - layer: global number, nil outside of the layers.
  ///   - expert: global number, nil for what is no expert.
  public func find(_ name: String, layer: Int? = nil, expert: Int? = nil) -> [Place] {
    let layers: [MegatronKey.Form] = layer.map { [.stacked, .numbered($0)] } ?? [.none]
    let experts: [MegatronKey.Form] = expert.map { [.stacked, .numbered($0)] } ?? [.none]
    for layerForm in layers {
      for expertForm in experts {
        var key = MegatronKey(name, prefix: prefix, layer: layerForm, expert: expertForm)
        var leading: [Int] = []
        if layerForm == .stacked, let layer { leading.append(layer) }
        if expertForm == .stacked, let expert { leading.append(expert) }
        if keys.contains(key.stored) {
          return [Place(key: key.stored, leading: leading, half: .whole)]
        }
        let halves = [MegatronKey.Half.gate, .up].map { half -> Place in
          key.half = half
          return Place(key: key.stored, leading: leading, half: half)
        }
        if halves.allSatisfy({ keys.contains($0.key) }) { return halves }
      }
    }
    // Outside of the language model (`visual.visual.…`) keys have no prefix.
    if layer == nil, keys.contains(name) {
      return [Place(key: name, leading: [], half: .whole)]
    }
    return []
  }

  /// Whether the checkpoint holds an adapter (LoRA matrices).
  public var hasAdapters: Bool { names.contains { $0.contains(".lora_") } }

  /// The number of layers that numbered keys show, or nil when layers are stacked.
  public var numberedLayers: Int? {
    let numbers = keys.compactMap { key -> Int? in
      if case .numbered(let number) = MegatronKey(stored: key).layer { number } else { nil }
    }
    return numbers.max().map { $0 + 1 }
  }
}
