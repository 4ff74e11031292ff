/// A parameter name of a Megatron checkpoint, taken apart.
///
///     decoder.layers.mlp.linear_fc1.weight                        all layers stacked
///     decoder.layers.3.mlp.linear_fc1.weight                      layer 3
///     language_model.decoder.layers.mlp.experts.experts.linear_fc2.weight   layers and experts stacked
///     decoder.layers.3.mlp.experts.7.linear_fc1.weight_w          layer 3, expert 7, gate half
///
/// `name` is the same for all forms; the stored shape of the stacked ones has the layers, then the
/// experts, as leading dimensions.
/// - Source: sharded names of megatron-core 0.13 to 0.16.
public struct MegatronKey: Sendable, Hashable {
  /// How one leading dimension is stored.
  public enum Form: Sendable, Hashable {
    /// The parameter has no such dimension.
    case none
    /// A leading dimension of the stored tensor.
    case stacked
    /// A number in the key.
    case numbered(Int)
  }

  /// Which rows of a gated first layer a key holds.
  public enum Half: Sendable, Hashable { case whole, gate, up }

  /// Empty for text models, `language_model.` for Qwen3-VL.
  public var prefix: String
  public var layer: Form
  public var expert: Form
  public var half: Half
  /// Without prefix, `decoder.layers.` and numbers: `mlp.experts.linear_fc1.weight`; names outside
  /// of the layers are kept whole: `decoder.final_layernorm.weight`.
  public var name: String

  public init(
    _ name: String, prefix: String = "", layer: Form = .none, expert: Form = .none,
    half: Half = .whole
  ) {
    self.name = name
    self.prefix = prefix
    self.layer = layer
    self.expert = expert
    self.half = half
  }

  private static let layers = "decoder.layers."
  private static let experts = "mlp.experts."
  private static let languageModel = "language_model."

  /// Takes a stored key apart.
  public init(stored key: String) {
    var rest = Substring(key)
    prefix = ""
    if rest.hasPrefix(Self.languageModel) {
      prefix = Self.languageModel
      rest = rest.dropFirst(Self.languageModel.count)
    }
    layer = .none
    expert = .none
    half = .whole
    guard rest.hasPrefix(Self.layers) else {
      name = String(rest)
      return
    }
    rest = rest.dropFirst(Self.layers.count)
    layer = Self.number(&rest).map { .numbered($0) } ?? .stacked
    var name = String(rest)
    if rest.hasPrefix(Self.experts) {
      var inner = rest.dropFirst(Self.experts.count)
      if inner.hasPrefix("experts.") {
        expert = .stacked
        inner = inner.dropFirst("experts.".count)
      } else if let number = Self.number(&inner) {
        expert = .numbered(number)
      }
      name = Self.experts + inner
    }
    if name.hasSuffix("weight_w") || name.hasSuffix("weight_v") {
      half = name.hasSuffix("w") ? .gate : .up
      name.removeLast(2)
    }
    self.name = name
  }

  /// The key as it stands in a checkpoint.
  public var stored: String {
    var text = prefix
    switch layer {
    case .none: return text + name
    case .stacked: text += Self.layers
    case .numbered(let number): text += Self.layers + "\(number)."
    }
    var name = name
    if name.hasPrefix(Self.experts) {
      let inner = name.dropFirst(Self.experts.count)
      switch expert {
      case .none: break
      case .stacked: name = Self.experts + "experts." + inner
      case .numbered(let number): name = Self.experts + "\(number)." + inner
      }
    }
    switch half {
    case .whole: break
    case .gate: name += "_w"
    case .up: name += "_v"
    }
    return text + name
  }

  /// Takes `12.` from the front.
  private static func number(_ text: inout Substring) -> Int? {
    guard let dot = text.firstIndex(of: "."), dot > text.startIndex,
      text[..<dot].utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }), let number = Int(text[..<dot])
    else { return nil }
    text = text[text.index(after: dot)...]
    return number
  }
}
