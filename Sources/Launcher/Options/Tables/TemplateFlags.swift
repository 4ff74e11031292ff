import Support

/// How a row becomes tokens and which tokens count in the loss.
public struct TemplateFlags: Sendable {
  /// What the model is trained for.
  public enum TaskType: String, OptionChoice {
    case causalLM = "causal_lm"
    case sequenceClassification = "seq_cls"
  }

  /// What box coordinates are scaled to.
  public enum BoxScale: String, OptionChoice { case norm1000, none }

  /// Names of the weighting schemes of the loss.
  public static let lossScales = [
    "default", "last_round", "all", "ignore_empty_think", "last_round_with_ignore_empty_think",
    "react", "hermes", "qwen", "agentflan", "alpha_umi",
  ]

  /// Forms of tool calls that the reference knows beside hermes.
  private static let otherAgentTemplates = [
    "react_en", "react_zh", "qwen_en", "qwen_zh", "qwen_en_parallel", "qwen_zh_parallel",
    "qwen3_coder", "toolbench", "glm4", "chatglm4", "glm4_0414", "glm4_5", "llama3", "llama4",
    "mistral", "deepseek_v3_1", "seed_oss", "hunyuan_hermes",
  ]

  public var template: String?
  public var system: String?
  /// nil: true.
  public var useChatTemplate: Bool?
  public var lossScale = "default"
  public var agentTemplate: String?
  public var responsePrefix: String?
  public var normBbox: BoxScale?
  public var maxPixels: Int?
  public var enableDFTLoss = false
  public var enableChannelLoss = false
  public var taskType = TaskType.causalLM

  public init() {}

  static let rows: [Option<TemplateFlags>] = [
    Option(\.template, "template", "Name of the chat template.").unset("that of the model"),
    .init(\.system, "system", "System text, or a .txt file that holds it."),
    Option(
      \.useChatTemplate, "use_chat_template",
      "Put rows into the chat template; false is plain text."
    ).unset("true"),
    Option(\.agentTemplate, "agent_template", "How tool calls are written.").unset("hermes")
      .oneOf(["hermes"] + otherAgentTemplates)
      .refusing(otherAgentTemplates, "tool calls are written in the hermes form"),
    .init(\.responsePrefix, "response_prefix", "Text that every generated answer begins with."),
    Option(\.taskType, "task_type", "What the model is trained for.")
      .refusing(["seq_cls"], "only causal_lm is trained"),
    Option(\.normBbox, "norm_bbox", "Scale of box coordinates: thousandths, or pixels.").unset(
      "norm1000"),
    Option(
      \.maxPixels, "max_pixels", "Most pixels of a picture; larger ones are scaled down first."
    )
    .unset("what IMAGE_MAX_TOKEN_NUM allows").atLeast(1),
    Option(
      recorded: "template_backend", .choice(["swift", "jinja"]), .text("swift"), "Who renders rows."
    )
    .refused("rows are rendered by the built-in templates"),
    Option(recorded: "new_special_tokens", .list, .list([]), "Tokens to add to the vocabulary.")
      .refused("the vocabulary of the model is kept as it is"),
    Option(recorded: "num_labels", .int, "Classes of seq_cls.").refused(
      "only causal_lm is trained"),
    Option(
      recorded: "problem_type",
      .choice(["regression", "single_label_classification", "multi_label_classification"]),
      "Kind of seq_cls."
    )
    .refused("only causal_lm is trained"),
  ].under(.template)

  static let lossRows: [Option<TemplateFlags>] = [
    Option(
      \.lossScale, "loss_scale",
      "Weights of the tokens in the loss: \(lossScales.joined(separator: ", "))."
    )
    .oneOf(lossScales),
    .init(\.enableDFTLoss, "enable_dft_loss", "Weigh each token's loss with its own probability."),
    .init(\.enableChannelLoss, "enable_channel_loss", "Log the loss of each channel of the rows."),
  ].under(.template)
}
