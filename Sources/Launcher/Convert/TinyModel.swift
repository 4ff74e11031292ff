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
    /// Dense, with a vision tower.
    case vl
    case vlMoE = "vl-moe"

    var hasExperts: Bool { self == .moe || self == .vlMoE }
    var hasVision: Bool { self == .vl || self == .vlMoE }
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
    let text = JSONValue.object(TinyConfiguration(kind).root).write(.indented) + "\n"
    try AtomicFile.write(text, to: folder + "/config.json")
    if kind.hasVision {
      try AtomicFile.write(
        JSONValue.object(TinyConfiguration.processor).write(.indented) + "\n",
        to: folder + "/preprocessor_config.json")
    }
    let config = try QwenConfig(folder: folder)
    let engine = try Engine()
    let model = try QwenModel(
      config, layout: ModelLayout(), dtype: .bfloat16, router: nil, on: engine)
    try model.initialize(seed: seed)
    try write(model, to: folder)
  }

  private static func write(_ model: QwenModel, to folder: String) throws(Fault) {
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
}
