/// Shape of the learning rate after warmup.
public enum LearningRateStyle: String, Sendable, CaseIterable {
  case constant, linear, cosine
  case inverseSquareRoot = "inverse-square-root"
  /// Warmup, stable, decay: the peak is held and only the last part decays.
  case warmupStableDecay = "WSD"
}

/// Shape of the last part of `WSD`.
public enum StableDecayStyle: String, Sendable, CaseIterable {
  case exponential, linear, cosine
  case minusSquareRoot = "minus_sqrt"
}

/// Ramp of the weight decay over training.
public enum WeightDecayStyle: String, Sendable, CaseIterable {
  case constant, linear, cosine
}

/// What the flags say about learning rate and weight decay; lengths in steps of `globalBatchSize`
/// samples.
public struct ScheduleOptions: Sendable, Equatable {
  /// Peak rate.
  public var learningRate: Double
  public var minimum = 0.0
  public var style = LearningRateStyle.cosine
  /// Rate of the very first sample.
  public var warmupInit = 0.0
  public var warmupIterations = 0
  /// Warmup as a part of the decay length; excludes `warmupIterations`.
  public var warmupFraction: Double?
  /// Steps until the floor is reached; `trainIterations` if nil.
  public var decayIterations: Int?
  public var stableDecayStyle = StableDecayStyle.exponential
  public var stableDecayIterations: Int?
  public var trainIterations: Int
  public var globalBatchSize: Int
  public var weightDecayStyle = WeightDecayStyle.constant
  public var startWeightDecay = 0.1
  public var endWeightDecay = 0.1

  public init(learningRate: Double, trainIterations: Int, globalBatchSize: Int) {
    self.learningRate = learningRate
    self.trainIterations = trainIterations
    self.globalBatchSize = globalBatchSize
  }
}
