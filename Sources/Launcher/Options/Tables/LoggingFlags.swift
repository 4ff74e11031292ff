import Support

/// What is reported and how often.
public struct LoggingFlags: Sendable {
  public var logInterval = 5
  /// nil: `saveInterval`.
  public var evalInterval: Int?
  /// −1: as many as the validation data fill; 0: none.
  public var evalIters = -1
  public var logThroughput = false
  public var logParamsNorm = false
  /// nil: `<run>/runs`.
  public var tensorboardDir: String?
  public var tensorboardLogInterval = 1
  public var tensorboardQueueSize = 50
  public var logTimersToTensorboard = true
  public var logValidationPPLToTensorboard = true
  public var logMemoryToTensorboard = true
  public var noLogLearningRateToTensorboard = false
  /// nil: INFO.
  public var loggingLevel: String?

  public init() {}

  private static let noWandb = "curves go to TensorBoard files and logging.jsonl"

  static let rows: [Option<LoggingFlags>] = [
    Option(
      \.logInterval, "log_interval", "Iterations between log lines; the first is always logged."
    ).atLeast(1),
    Option(\.evalInterval, "eval_interval", "Iterations between evaluations.").unset(
      "save_interval"
    ).atLeast(1),
    Option(
      \.evalIters, "eval_iters", "Steps of an evaluation; -1 uses all validation data, 0 none."
    ).atLeast(-1),
    .init(\.logThroughput, "log_throughput", "Report model FLOP/s."),
    .init(\.logParamsNorm, "log_params_norm", "Report the norm of the weights."),
    Option(\.tensorboardDir, "tensorboard_dir", "Folder of the event files.").unset("<run>/runs")
      .path(),
    Option(\.tensorboardLogInterval, "tensorboard_log_interval", "Iterations between points.")
      .atLeast(1),
    Option(\.tensorboardQueueSize, "tensorboard_queue_size", "Points kept before they are written.")
      .atLeast(1),
    .init(\.logTimersToTensorboard, "log_timers_to_tensorboard", "Curves of the parts of a step."),
    .init(
      \.logValidationPPLToTensorboard, "log_validation_ppl_to_tensorboard",
      "Curve of the validation perplexity."),
    .init(\.logMemoryToTensorboard, "log_memory_to_tensorboard", "Curves of memory."),
    .init(
      \.noLogLearningRateToTensorboard, "no_log_learning_rate_to_tensorboard",
      "No curve of the learning rate."),
    levelRow,
    Option(recorded: "wandb_project", .text, "Weights & Biases.").noEffect(noWandb),
    Option(recorded: "wandb_exp_name", .text, "Weights & Biases.").noEffect(noWandb),
    Option(recorded: "wandb_save_dir", .text, "Weights & Biases.").noEffect(noWandb),
  ].under(.logging)

  /// Shared with the programs that only log.
  static let levelRow = Option<LoggingFlags>(
    \.loggingLevel, "logging_level", "DEBUG, INFO, WARNING, ERROR or a number."
  ).unset("INFO").environment("LOG_LEVEL").group(.logging).check {
    guard case .text(let text) = $0, LogLevel(text: text) == nil else { return nil }
    return "expected DEBUG, INFO, WARNING, ERROR, CRITICAL or a number, got \"\(text)\""
  }
}
