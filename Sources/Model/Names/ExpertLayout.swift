import Support

/// How a published folder stores the matrices of experts.
public enum ExpertLayout: String, Sendable, CaseIterable {
  /// A tensor per expert and matrix (Qwen3-MoE).
  case separate
  /// One tensor for all experts, each matrix transposed: `[e, h, 2f]`, `[e, f, h]` (Qwen3-VL-MoE as
  /// published).
  case transposed
  /// One tensor for all experts, each matrix `[out, in]`: `[e, 2f, h]`, `[e, h, f]` (Qwen3-VL-MoE as
  /// transformers 5 writes it).
  case stacked

  public static func published(_ config: QwenConfig) -> ExpertLayout {
    config.family == .qwen3VLMoE ? .transposed : .separate
  }

  /// The layout of a folder's tensors by their shapes.
  ///
  /// A matrix that is square does not tell; if none does, the version that wrote the folder decides.
  /// - Returns: the layout, and whether it is a guess.
  public static func of(
    _ tensors: some PublishedTensors, _ config: QwenConfig
  ) -> (layout: ExpertLayout, isGuess: Bool) {
    guard config.family == .qwen3VLMoE, let sizes = config.experts,
      let layer = config.sparseLayers.first
    else { return (.published(config), false) }
    let prefix = "model.language_model.layers.\(layer).mlp.experts."
    let (h, f) = (config.hiddenSize, sizes.intermediateSize)
    for (name, input, output) in [("gate_up_proj", h, 2 * f), ("down_proj", f, h)] {
      guard input != output, let shape = tensors.describe(published: prefix + name)?.shape,
        shape.count == 3
      else { continue }
      return (shape[1] == output && shape[2] == input ? .stacked : .transposed, false)
    }
    let major = config.writerVersion.flatMap { Int($0.prefix { $0 != "." }) } ?? 0
    return (major >= 5 ? .stacked : .transposed, true)
  }
}
