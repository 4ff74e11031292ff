import Model
import Support

/// Configurations of small models with a vision tower.
enum VisionRig {
  static func config(experts: Int = 0, change: (inout JSONObject) -> Void = { _ in }) throws
    -> QwenConfig
  {
    let moe =
      experts == 0
      ? ""
      : """
      , "num_experts": \(experts), "num_experts_per_tok": 2, "moe_intermediate_size": 24
      """
    let kind = experts == 0 ? "qwen3_vl" : "qwen3_vl_moe"
    let text = """
      {"model_type": "\(kind)", "image_token_id": 508, "video_token_id": 509,
       "tie_word_embeddings": false,
       "text_config": {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 48,
         "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4,
         "head_dim": 8, "rms_norm_eps": 1e-6, "rope_theta": 5000000.0, "initializer_range": 0.2,
         "rope_scaling": {"rope_type": "default", "mrope_interleaved": true,
           "mrope_section": [2, 1, 1]}\(moe)},
       "vision_config": {"depth": 3, "hidden_size": 24, "intermediate_size": 40, "num_heads": 2,
         "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3,
         "out_hidden_size": 32, "num_position_embeddings": 16, "initializer_range": 0.2,
         "deepstack_visual_indexes": [0, 2], "hidden_act": "gelu_pytorch_tanh"}}
      """
    var root = try JSONValue.parse(text).object ?? JSONObject()
    change(&root)
    return try QwenConfig(json: .object(root), path: "test")
  }
}
