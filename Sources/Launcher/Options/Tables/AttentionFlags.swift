import Support

/// Kernels of attention and loss.
public struct AttentionFlags: Sendable {
  public enum Backend: String, OptionChoice { case flash, fused, unfused, local, auto }

  public var backend = Backend.flash
  public var crossEntropyLossFusion = false
  public var attnImpl: String?

  public init() {}

  static let rows: [Option<AttentionFlags>] = [
    Option(\.backend, "attention_backend", "Attention kernel.")
      .noEffect("attention is always tiled; every choice gives the same result"),
    Option(
      \.crossEntropyLossFusion, "cross_entropy_loss_fusion",
      "Loss without the logits of a whole row in memory."
    ).noEffect("the loss is always computed in chunks"),
    inert("use_flash_attn", .bool, .bool(false)),
    Option(\.attnImpl, "attn_impl", "Attention of the reference's vision tower.").noEffect(
      "--attention_backend counts"),
    inert("cross_entropy_fusion_impl", .choice(["native", "te"]), .text("native")),
    inert("no_masked_softmax_fusion", .bool, .bool(false)),
    inert("no_bias_dropout_fusion", .bool, .bool(false)),
    inert("no_bias_swiglu_fusion", .bool, .bool(false)),
    inert("no_rope_fusion", .optionalBool, .unset),
    inert(
      "transformer_impl", .choice(["transformer_engine", "local"]), .text("transformer_engine")),
    Option(recorded: "manual_gc", .bool, .bool(false), "Python's garbage collection.").noEffect(
      "there is none"),
    Option(recorded: "manual_gc_interval", .int, .int(0), "Python's garbage collection.").noEffect(
      "there is none"),
  ].under(.attention)

  private static func inert(
    _ name: String, _ kind: OptionKind, _ value: OptionValue
  ) -> Option<AttentionFlags> {
    Option(recorded: name, kind, value, "Kernel choice.").noEffect(
      "there is one kernel for each machine")
  }
}
