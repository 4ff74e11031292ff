import Support

/// Values that replace those of `config.json`; nil leaves the config's.
public struct ArchitectureFlags: Sendable {
  public var numLayers: Int?
  public var hiddenSize: Int?
  public var ffnHiddenSize: Int?
  public var numAttentionHeads: Int?
  public var numQueryGroups: Int?
  public var kvChannels: Int?
  public var maxPositionEmbeddings: Int?
  public var rotaryBase: Double?
  /// Frequencies of the time, height and width axes.
  public var mropeSection: [String]?
  public var normEpsilon: Double?
  public var untieEmbeddingsAndOutputWeights: Bool?
  public var numExperts: Int?
  public var moeFFNHiddenSize: Int?
  public var moeRouterTopK: Int?

  public init() {}

  private static let fixed = "this value is fixed for the models that are trained here"

  static let rows: [Option<ArchitectureFlags>] =
    [
      Option(\.numLayers, "num_layers", "Transformer layers.").atLeast(1),
      Option(\.hiddenSize, "hidden_size", "Width of the residual stream.").atLeast(1),
      Option(\.ffnHiddenSize, "ffn_hidden_size", "Width of the dense feed-forward layer.").atLeast(
        1),
      Option(\.numAttentionHeads, "num_attention_heads", "Query heads.").atLeast(1),
      Option(\.numQueryGroups, "num_query_groups", "Key and value heads.").atLeast(1),
      Option(\.kvChannels, "kv_channels", "Size of a head.").atLeast(1),
      Option(\.maxPositionEmbeddings, "max_position_embeddings", "Longest text of the model.")
        .atLeast(1),
      Option(
        \.mropeSection, "mrope_section",
        "Frequencies of the time, height and width axes of media positions, three numbers."
      ).check { value in
        guard case .list(let words) = value, words.count == 3,
          words.allSatisfy({ Int($0).map { $0 >= 0 } ?? false })
        else { return "expected three numbers that are not negative" }
        return nil
      },
      Option(\.rotaryBase, "rotary_base", "Base of the rotary frequencies.").atLeast(1.0),
      Option(\.normEpsilon, "norm_epsilon", "Epsilon of the norms.").atLeast(0.0),
      .init(
        \.untieEmbeddingsAndOutputWeights, "untie_embeddings_and_output_weights",
        "Output layer with weights of its own."),
      Option(\.numExperts, "num_experts", "Experts of a layer.").atLeast(1),
      Option(\.moeFFNHiddenSize, "moe_ffn_hidden_size", "Width of an expert.").atLeast(1),
      Option(\.moeRouterTopK, "moe_router_topk", "Experts per token.").atLeast(1),
    ].under(.architecture).map { $0.unset("from config.json") } + fixedRows

  private static let fixedRows: [Option<ArchitectureFlags>] =
    [
      fixedWord(
        "position_embedding_type", ["rope", "mrope", "none", "learned_absolute"], "rope",
        "Kind of positions."),
      fixedWord("normalization", ["RMSNorm", "LayerNorm"], "RMSNorm", "Kind of norm."),
      fixedNumber("rotary_percent", 1, "Part of a head that is rotated."),
      fixedNumber("attention_dropout", 0, "Dropout on attention weights."),
      fixedNumber("hidden_dropout", 0, "Dropout on hidden states."),
      Option(recorded: "qk_layernorm", .optionalBool, "Norms on queries and keys.")
        .check { $0 == .bool(true) ? nil : "must be true: \(fixed)" },
      fixedSwitch("swiglu", true, "Gated feed-forward layers."),
      fixedSwitch("disable_bias_linear", true, "Linear layers without bias."),
      fixedSwitch("add_qkv_bias", false, "Bias on queries, keys and values."),
      fixedSwitch("rotary_interleaved", false, "Rotate neighbouring pairs."),
      Option(recorded: "moe_layer_freq", .textOrJSON, "Which layers have experts.")
        .check { $0 == .text("1") ? nil : "must be 1: \(fixed)" },
      Option(recorded: "multi_latent_attention", .bool, .bool(false), "Latent attention.").refused(
        fixed),
      Option(recorded: "q_lora_rank", .int, "Latent attention.").refused(fixed),
      Option(recorded: "kv_lora_rank", .int, "Latent attention.").refused(fixed),
      Option(recorded: "qk_head_dim", .int, "Latent attention.").refused(fixed),
      Option(recorded: "qk_pos_emb_head_dim", .int, "Latent attention.").refused(fixed),
      Option(recorded: "layer_types", .list, .list([]), "Kinds of the layers.").refused(fixed),
      Option(recorded: "linear_num_value_heads", .int, "Linear attention.").refused(fixed),
      Option(recorded: "linear_num_key_heads", .int, "Linear attention.").refused(fixed),
      Option(recorded: "linear_key_head_dim", .int, "Linear attention.").refused(fixed),
      Option(recorded: "linear_value_head_dim", .int, "Linear attention.").refused(fixed),
      Option(recorded: "linear_conv_kernel_dim", .int, "Linear attention.").refused(fixed),
    ].under(.architecture) + derivedRows

  /// Fields of the reference's records that always follow from `config.json`.
  private static let derivedRows: [Option<ArchitectureFlags>] = [
    ("group_query_attention", .optionalBool), ("initialize_embedding", .optionalBool),
    ("architectures", .textOrJSON), ("llm_architectures", .textOrJSON),
    ("original_max_position_embeddings", .int), ("partial_rotary_factor", .float),
    ("mrope_interleaved", .optionalBool),
  ].map { (name: String, kind: OptionKind) in
    Option(recorded: name, kind, "Follows from config.json.").noEffect(
      "it follows from config.json"
    )
    .group(.inert)
  }

  private static func fixedWord(
    _ name: String, _ words: [String], _ only: String, _ help: String
  ) -> Option<ArchitectureFlags> {
    Option(recorded: name, .choice(words), help).check {
      $0 == .text(only) ? nil : "must be \(only): \(fixed)"
    }
  }

  private static func fixedNumber(
    _ name: String, _ only: Double, _ help: String
  ) -> Option<ArchitectureFlags> {
    Option(recorded: name, .float, help).check {
      $0 == .float(only) ? nil : "must be \(only): \(fixed)"
    }
  }

  private static func fixedSwitch(
    _ name: String, _ only: Bool, _ help: String
  ) -> Option<ArchitectureFlags> {
    Option(recorded: name, .optionalBool, help).check {
      $0 == .bool(only) ? nil : "must be \(only): \(fixed)"
    }
  }
}
