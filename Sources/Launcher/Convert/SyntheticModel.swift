import Checkpoint
import Foundation
import Model
import Support
import Tensor

/// A folder with the real widths of Qwen3-30B-A3B, or of Qwen3-VL-30B-A3B, and as many layers as asked
/// for, random weights: for measuring conversions at size.
public enum SyntheticModel {
  static func configuration(layers: Int, vision: Bool) -> JSONObject {
    vision ? multimodal(layers: layers) : textual(layers: layers)
  }

  private static func multimodal(layers: Int) -> JSONObject {
    var text = textual(layers: layers)
    text["model_type"] = .string("qwen3_vl_moe_text")
    text["rope_theta"] = JSONValue(5_000_000)
    let numbers: [(String, Int)] = [
      ("depth", 27), ("hidden_size", 1152), ("in_channels", 3), ("intermediate_size", 4304),
      ("num_heads", 16), ("num_position_embeddings", 2304), ("out_hidden_size", 2048),
      ("patch_size", 16), ("spatial_merge_size", 2), ("temporal_patch_size", 2),
    ]
    var tower = JSONObject(numbers.map { ($0.0, JSONValue($0.1)) })
    tower["model_type"] = .string("qwen3_vl_moe")
    tower["hidden_act"] = .string("gelu_pytorch_tanh")
    tower["deepstack_visual_indexes"] = .array([8, 16, 24].prefix(layers).map { JSONValue($0) })
    var config = JSONObject()
    config["architectures"] = .array([.string("Qwen3VLMoeForConditionalGeneration")])
    config["model_type"] = .string("qwen3_vl_moe")
    config["torch_dtype"] = .string("bfloat16")
    config["tie_word_embeddings"] = .bool(false)
    config["image_token_id"] = JSONValue(151_655)
    config["video_token_id"] = JSONValue(151_656)
    config["vision_start_token_id"] = JSONValue(151_652)
    config["vision_end_token_id"] = JSONValue(151_653)
    config["text_config"] = .object(text)
    config["vision_config"] = .object(tower)
    return config
  }

  private static func textual(layers: Int) -> JSONObject {
    let numbers: [(String, Int)] = [
      ("decoder_sparse_step", 1), ("head_dim", 128), ("hidden_size", 2048),
      ("intermediate_size", 6144), ("max_position_embeddings", 40960),
      ("moe_intermediate_size", 768), ("num_attention_heads", 32), ("num_experts", 128),
      ("num_experts_per_tok", 8), ("num_hidden_layers", layers), ("num_key_value_heads", 4),
      ("rope_theta", 1_000_000), ("vocab_size", 151_936),
    ]
    var config = JSONObject()
    config["architectures"] = .array([.string("Qwen3MoeForCausalLM")])
    config["model_type"] = .string("qwen3_moe")
    config["hidden_act"] = .string("silu")
    config["torch_dtype"] = .string("bfloat16")
    config["attention_bias"] = .bool(false)
    config["norm_topk_prob"] = .bool(true)
    config["tie_word_embeddings"] = .bool(false)
    config["mlp_only_layers"] = .array([])
    config["rms_norm_eps"] = .number("1e-06")
    for (name, value) in numbers { config[name] = JSONValue(value) }
    return config
  }

  /// - Throws: `FILE-003`.
  public static func write(
    layers: Int, vision: Bool, to folder: String, seed: UInt64 = 1
  ) throws(Fault) {
    try Folder.make(folder)
    let configuration = configuration(layers: layers, vision: vision)
    let text = JSONValue.object(configuration).write(.indented) + "\n"
    try AtomicFile.write(text, to: folder + "/config.json")
    let map = NameMap(try QwenConfig(folder: folder))
    let specs = map.published.map { TensorSpec($0.name, .bfloat16, $0.shape) }
    let block = numbers(seed)
    let units = try SafetensorsUnits(specs, maxShardBytes: 4_000_000_000) { spec in
      // Each tensor begins at another place of the block, so that no two are alike.
      var place = Int(CRC32C(Array(spec.name.utf8)).value) % block.count
      return { (emit) throws(Fault) in
        var left = spec.count
        while left > 0 {
          let count = min(left, block.count - place)
          try block.withUnsafeBufferPointer { (all) throws(Fault) in
            try emit(
              UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: all[place..<place + count])))
          }
          left -= count
          place = 0
        }
      }
    }
    for file in units.files { _ = try file.write(to: folder, purpose: "synthetic") }
    for file in units.files { try Folder.remove(folder + "/" + file.name + ".progress") }
    try units.publish(from: folder, to: folder)
  }

  /// About five million bf16 numbers around zero.
  private static func numbers(_ seed: UInt64) -> [UInt16] {
    var state = seed
    return (0..<5_000_011).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let unit = Float(Int32(truncatingIfNeeded: state >> 32)) * 0x1p-31
      return BF16(unit * 0.05).bits
    }
  }
}
