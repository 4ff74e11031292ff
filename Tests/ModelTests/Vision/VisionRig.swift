import Model
import Support
import Tensor

/// Configurations and inputs of small models with a vision tower.
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

  /// Puts the placeholders of pictures, and of the slices of clips, into a document from its second
  /// token on, each followed by a token of text.
  static func putPlaceholders(
    for grids: [PatchGrid], into ids: inout [Int32], _ config: VisionConfig
  ) {
    var place = 1
    for grid in grids {
      for _ in 0..<grid.t {
        for _ in 0..<grid.slicePatches / config.mergedPatches {
          ids[place] = grid.t > 1 ? config.videoToken : config.imageToken
          place += 1
        }
        place += 1
      }
    }
  }

  /// Random pixels; nil without pictures.
  static func input(
    _ grids: [PatchGrid], _ config: VisionConfig, on engine: Engine
  ) throws(Fault) -> VisionInput? {
    guard !grids.isEmpty else { return nil }
    let patches = grids.reduce(0) { $0 + $1.patches }
    let random = CounterRandom(seed: 9, purpose: "pixels")
    let values = (0..<patches * config.patchValues).map { Float(random.uniform($0) * 2 - 1) }
    return try VisionInput(
      pixels: try Tensor(values, [patches, config.patchValues], on: engine), grids: grids)
  }
}
