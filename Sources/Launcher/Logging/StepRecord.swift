/// One named mean of the iterations since the last log.
public struct NamedLoss: Sendable, Equatable {
  /// `lm loss`, `load_balancing_loss`, `z_loss`, `loss_<channel>`.
  public let name: String
  public let value: Double
  public init(_ name: String, _ value: Double) {
    self.name = name
    self.value = value
  }
}

/// What is known after a step that is logged. Losses are means over the iterations since the last
/// log; everything else is of the last step unless said otherwise.
public struct StepRecord: Sendable {
  public var iteration: Int
  public var trainIters: Int
  public var consumedSamples: Int
  public var skippedSamples = 0
  /// Mean since the last log, seconds.
  public var secondsPerIteration = 0.0
  /// Largest resident set of the rank so far, GiB.
  public var memoryGiB = 0.0
  /// Time of the training iterations alone, without evaluation and saving; seconds.
  public var elapsedSeconds = 0.0
  /// Model TFLOP/s of a rank; logged when set.
  public var throughput: Double?
  /// Rate after this step's update of the schedule, i.e. that of the next step.
  public var learningRate = 0.0
  public var globalBatchSize = 0
  /// `lm loss` first, then router losses, then channels.
  public var losses: [NamedLoss] = []
  public var lossScale = 1.0
  /// Before clipping.
  public var gradNorm: Double?
  public var zeroGradients: Int?
  public var paramsNorm: Double?
  /// Since the last log.
  public var skippedIterations = 0
  /// Since the last log.
  public var nanIterations = 0
  /// Share of trained tokens predicted right; in the form of `swift sft` only.
  public var tokenAccuracy: Double?
  /// Passes over the data so far; in the form of `swift sft` only.
  public var epoch: Double?

  public init(iteration: Int, trainIters: Int, consumedSamples: Int) {
    self.iteration = iteration
    self.trainIters = trainIters
    self.consumedSamples = consumedSamples
  }

  /// elapsed / (iteration / trainIters) − elapsed, seconds.
  public var remainingSeconds: Double {
    guard iteration > 0, trainIters > iteration else { return 0 }
    return elapsedSeconds * Double(trainIters) / Double(iteration) - elapsedSeconds
  }
}

/// The result of an evaluation.
public struct EvalRecord: Sendable {
  public var iteration: Int
  /// `lm loss` first, then further measures.
  public var losses: [NamedLoss]
  /// The evaluation after training.
  public var isFinal = false
  /// The next four are written in the form of `swift sft` only.
  public var tokenAccuracy: Double?
  public var runtimeSeconds: Double?
  public var samples: Int?
  public var steps: Int?
  public var consumedSamples = 0
  public var epoch: Double?

  public init(iteration: Int, losses: [NamedLoss]) {
    self.iteration = iteration
    self.losses = losses
  }

  /// exp(min(20, loss)), which does not overflow.
  public static func perplexity(_ loss: Double) -> Double { exponential(min(20, loss)) }
}
