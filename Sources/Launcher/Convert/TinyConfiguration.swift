import Support

/// `config.json` of the tiny models: the keys of the published ones, small numbers.
struct TinyConfiguration {
  let root: JSONObject

  init(_ kind: TinyModel.Kind) {
    let keys = kind.hasVision ? Self.multimodal(kind) : Self.textual(kind)
    root = JSONObject(keys.members.sorted { $0.key < $1.key })
  }

  private static func textual(_ kind: TinyModel.Kind) -> JSONObject {
    var config = JSONObject([
      ("architectures", architecture(kind == .dense ? "Qwen3ForCausalLM" : "Qwen3MoeForCausalLM"))
    ])
    for (key, value) in text(layers: 2, positions: 1024) { config[key] = value }
    config["model_type"] = .string(kind == .dense ? "qwen3" : "qwen3_moe")
    config["rope_scaling"] = .null
    config["rope_theta"] = .number("1000000.0")
    config["tie_word_embeddings"] = .bool(kind == .dense)
    config["torch_dtype"] = .string("bfloat16")
    if kind == .moe { addExperts(to: &config) }
    return config
  }

  private static func multimodal(_ kind: TinyModel.Kind) -> JSONObject {
    let name = kind.hasExperts ? "qwen3_vl_moe" : "qwen3_vl"
    var language = JSONObject(text(layers: 4, positions: 8192))
    language["model_type"] = .string(name + "_text")
    language["rope_scaling"] = .object(
      JSONObject([
        ("mrope_interleaved", .bool(true)),
        ("mrope_section", .array([4, 2, 2].map { JSONValue($0) })),
        ("rope_type", .string("default")),
      ]))
    language["rope_theta"] = .number("5000000.0")
    if kind.hasExperts {
      addExperts(to: &language)
      // Not half of hidden_size: square experts would not show in which order they are stored.
      language["moe_intermediate_size"] = JSONValue(48)
    }
    return JSONObject([
      (
        "architectures",
        architecture(
          kind.hasExperts
            ? "Qwen3VLMoeForConditionalGeneration" : "Qwen3VLForConditionalGeneration")
      ),
      ("image_token_id", JSONValue(268)), ("model_type", .string(name)),
      ("text_config", .object(language)), ("tie_word_embeddings", .bool(!kind.hasExperts)),
      ("torch_dtype", .string("bfloat16")), ("video_token_id", JSONValue(269)),
      ("vision_config", .object(vision(name))), ("vision_end_token_id", JSONValue(266)),
      ("vision_start_token_id", JSONValue(265)),
    ])
  }

  private static func architecture(_ name: String) -> JSONValue { .array([.string(name)]) }

  private static func text(layers: Int, positions: Int) -> [(String, JSONValue)] {
    [
      ("attention_bias", .bool(false)), ("attention_dropout", .number("0.0")),
      ("eos_token_id", JSONValue(258)), ("head_dim", JSONValue(16)),
      ("hidden_act", .string("silu")), ("hidden_size", JSONValue(64)),
      ("initializer_range", .number("0.08")), ("intermediate_size", JSONValue(128)),
      ("max_position_embeddings", JSONValue(positions)), ("max_window_layers", JSONValue(layers)),
      ("num_attention_heads", JSONValue(8)), ("num_hidden_layers", JSONValue(layers)),
      ("num_key_value_heads", JSONValue(4)), ("rms_norm_eps", .number("1e-06")),
      ("sliding_window", .null), ("use_cache", .bool(true)), ("use_sliding_window", .bool(false)),
      ("vocab_size", JSONValue(288)),
    ]
  }

  private static func addExperts(to config: inout JSONObject) {
    config["decoder_sparse_step"] = JSONValue(1)
    config["mlp_only_layers"] = .array([])
    config["moe_intermediate_size"] = JSONValue(32)
    config["norm_topk_prob"] = .bool(true)
    config["num_experts"] = JSONValue(8)
    config["num_experts_per_tok"] = JSONValue(2)
  }

  private static func vision(_ name: String) -> JSONObject {
    JSONObject([
      ("deepstack_visual_indexes", .array([0, 1, 2].map { JSONValue($0) })),
      ("depth", JSONValue(3)), ("hidden_act", .string("gelu_pytorch_tanh")),
      ("hidden_size", JSONValue(32)), ("in_channels", JSONValue(3)),
      ("initializer_range", .number("0.08")), ("intermediate_size", JSONValue(64)),
      ("model_type", .string(name)), ("num_heads", JSONValue(4)),
      ("num_position_embeddings", JSONValue(256)), ("out_hidden_size", JSONValue(64)),
      ("patch_size", JSONValue(16)), ("spatial_merge_size", JSONValue(2)),
      ("temporal_patch_size", JSONValue(2)),
    ])
  }

  /// `preprocessor_config.json` of the models with a tower.
  static var processor: JSONObject {
    let half = JSONValue.array([0.5, 0.5, 0.5].map { JSONValue($0) })
    return JSONObject([
      ("image_mean", half), ("image_processor_type", .string("Qwen2VLImageProcessorFast")),
      ("image_std", half), ("merge_size", JSONValue(2)), ("patch_size", JSONValue(16)),
      ("processor_class", .string("Qwen3VLProcessor")),
      (
        "size",
        .object(
          JSONObject([
            ("longest_edge", JSONValue(16_777_216)), ("shortest_edge", JSONValue(65536)),
          ]))
      ),
      ("temporal_patch_size", JSONValue(2)),
    ])
  }
}
