import Model

/// `--hf_expert_layout`: how published folders that are written hold the experts of Qwen3-VL-MoE. Other
/// models have one way only.
public enum ExpertOrder: String, OptionChoice {
  /// `[e, h, 2f]`, `[e, f, h]`: read by every release of transformers.
  case published
  /// `[e, 2f, h]`, `[e, h, f]`: as transformers 5 writes them.
  case v5

  /// What this means for a model.
  func layout(_ config: QwenConfig) -> ExpertLayout {
    let published = ExpertLayout.published(config)
    return self == .v5 && published == .transposed ? .stacked : published
  }
}
