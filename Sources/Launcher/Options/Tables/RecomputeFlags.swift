import Support

/// What is computed again in the backward pass instead of kept.
public struct RecomputeFlags: Sendable {
  public enum Granularity: String, OptionChoice { case selective, full }
  public enum Method: String, OptionChoice { case uniform, block }

  /// Modules that can be recomputed alone.
  static let moduleNames = ["core_attn", "moe_act", "layernorm", "mla_up_proj", "mlp", "moe"]

  public var granularity = Granularity.selective
  public var method: Method?
  public var numLayers: Int?
  public var modules = ["core_attn"]
  public var moeLayer = false
  public var vision = true

  public init() {}

  static let rows: [Option<RecomputeFlags>] = [
    .init(\.granularity, "recompute_granularity", "Whole layers, or the modules named below."),
    .init(
      \.method, "recompute_method",
      "Units of equal size over all layers, or the first layers one by one."),
    Option(
      \.numLayers, "recompute_num_layers", "Layers of a unit (uniform), or how many layers (block)."
    ).atLeast(1),
    Option(\.modules, "recompute_modules", "Modules of selective recomputation.").check {
      guard case .list(let words) = $0, let bad = words.first(where: { !moduleNames.contains($0) })
      else { return nil }
      return "\"\(bad)\" is not one of \(moduleNames.joined(separator: ", "))"
    },
    .init(\.moeLayer, "moe_layer_recompute", "Old spelling of --recompute_modules moe."),
    .init(
      \.vision, "vit_gradient_checkpointing", "Recompute the blocks of a trained vision tower."),
    Option(
      recorded: "gradient_checkpointing_kwargs", .json, "Settings of the reference's recomputation."
    )
    .noEffect("there is one way to recompute"),
  ].under(.recompute)
}
