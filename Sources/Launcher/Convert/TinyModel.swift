import Checkpoint
import DataPipeline
import Foundation
import Model
import Parallel
import Support
import Tensor

/// Makes the tiny models of the recipes and tests: random weights from a fixed seed under the real
/// keys and names, and a byte-level tokenizer with Qwen's special tokens.
public enum TinyModel {
  public enum Kind: String, Sendable, CaseIterable {
    case dense
    case moe
  }

  /// Markers of the chat template and placeholders, in the order of the published vocabulary.
  static let special = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
  ]
  static let plain = [
    "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>",
  ]
  static let chatTemplate = """
    {%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content \
    + '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}\
    {%- endif %}
    """

  /// - Throws: `FILE-003`.
  public static func write(_ kind: Kind, to folder: String, seed: Int = 20240607) throws(Fault) {
    try Folder.make(folder)
    try Tokenizer.byteLevel(
      special: special, plain: plain, end: "<|im_end|>", pad: "<|endoftext|>",
      chatTemplate: chatTemplate
    ).write(to: folder)
    let text = JSONValue.object(configuration(kind)).write(.indented) + "\n"
    try AtomicFile.write(text, to: folder + "/config.json")
    let config = try QwenConfig(folder: folder)
    let engine = try Engine()
    let model = try QwenText(
      config, layout: ModelLayout(), dtype: .bfloat16, router: nil, on: engine)
    try model.initialize(seed: seed)
    try write(model, to: folder)
  }

  private static func write(_ model: QwenText, to folder: String) throws(Fault) {
    let assembly = PublishedAssembly(ModelWeights(model), NameMap(model.config))
    let specs = assembly.tensors.map { TensorSpec($0.name, .bfloat16, $0.shape) }
    let writer = try SafetensorsFolderWriter(folder, tensors: specs)
    for spec in specs {
      try ScratchBytes.with(spec.byteCount) { (buffer) throws(Fault) in
        try assembly.read(spec.name, into: buffer)
        try writer.append(spec.name, UnsafeRawBufferPointer(buffer))
      }
    }
    try writer.finish()
  }

  private static func configuration(_ kind: Kind) -> JSONObject {
    func number(_ value: Int) -> JSONValue { JSONValue(value) }
    var config = JSONObject([
      (
        "architectures",
        .array([.string(kind == .dense ? "Qwen3ForCausalLM" : "Qwen3MoeForCausalLM")])
      ),
      ("attention_bias", .bool(false)), ("attention_dropout", .number("0.0")),
      ("eos_token_id", number(258)), ("head_dim", number(16)), ("hidden_act", .string("silu")),
      ("hidden_size", number(64)), ("initializer_range", .number("0.08")),
      ("intermediate_size", number(128)), ("max_position_embeddings", number(1024)),
      ("max_window_layers", number(2)),
      ("model_type", .string(kind == .dense ? "qwen3" : "qwen3_moe")),
      ("num_attention_heads", number(8)), ("num_hidden_layers", number(2)),
      ("num_key_value_heads", number(4)), ("rms_norm_eps", .number("1e-06")),
      ("rope_scaling", .null), ("rope_theta", .number("1000000.0")), ("sliding_window", .null),
      ("tie_word_embeddings", .bool(kind == .dense)), ("torch_dtype", .string("bfloat16")),
      ("use_cache", .bool(true)), ("use_sliding_window", .bool(false)),
      ("vocab_size", number(288)),
    ])
    if kind == .moe {
      config["decoder_sparse_step"] = number(1)
      config["mlp_only_layers"] = .array([])
      config["moe_intermediate_size"] = number(32)
      config["norm_topk_prob"] = .bool(true)
      config["num_experts"] = number(8)
      config["num_experts_per_tok"] = number(2)
    }
    return config
  }
}
