import Support

/// Types of the arithmetic.
public struct PrecisionFlags: Sendable {
  public var fp16: Bool?
  public var bf16: Bool?
  /// nil: true for causal_lm.
  public var calculatePerTokenLoss: Bool?

  public init() {}

  static let rows: [Option<PrecisionFlags>] = [
    Option(\.fp16, "fp16", "Train in float16 with loss scaling.").unset("from --torch_dtype"),
    Option(\.bf16, "bf16", "Train in bfloat16.").unset("from --torch_dtype"),
    Option(
      \.calculatePerTokenLoss, "calculate_per_token_loss",
      "Divide the loss by the trained tokens of the whole step."
    ).unset("true"),
    Option(
      recorded: "apply_query_key_layer_scaling", .optionalBool,
      "Scale attention scores by the layer's number."
    )
    .unset("fp16").noEffect("the result is the same"),
    Option(recorded: "attention_softmax_in_fp32", .bool, .bool(true), "Softmax in fp32.").noEffect(
      "that is always so"),
    Option(recorded: "no_gradient_accumulation_fusion", .bool, .bool(false), "Kernel choice.")
      .noEffect("the result is the same"),
    Option(recorded: "fp8_format", .choice(["e4m3", "hybrid"]), "8-bit training.")
      .refused("8-bit arithmetic needs a GPU; use bf16"),
    Option(
      recorded: "fp8_recipe", .choice(["tensorwise", "delayed", "mxfp8", "blockwise"]),
      .text("delayed"), "8-bit training."
    )
    .noEffect("there is no 8-bit training"),
    Option(recorded: "fp8_amax_history_len", .int, .int(1024), "8-bit training.").noEffect(
      "there is no 8-bit training"),
    Option(
      recorded: "fp8_amax_compute_algo", .choice(["most_recent", "max"]), .text("max"),
      "8-bit training."
    )
    .noEffect("there is no 8-bit training"),
    Option(recorded: "fp8_param_gather", .bool, .bool(false), "8-bit training.").noEffect(
      "there is no 8-bit training"),
  ].under(.precision)
}
