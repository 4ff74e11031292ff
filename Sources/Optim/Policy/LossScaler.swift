/// The factor on the loss that keeps fp16 gradients above underflow.
///
/// Dynamic: it halves when overflows have used up the hysteresis (and at each further one) and
/// doubles after `growthInterval` good steps in a row, which alone refills the hysteresis.
/// - Source: Micikevicius et al. 2018; Megatron-LM `grad_scaler.py`.
public struct LossScaler: Sendable, Equatable {
  /// Limits and speed of a dynamic scale.
  public struct Options: Sendable, Equatable {
    public var initial: Double = 4_294_967_296
    public var minimum: Double = 1
    public var growthFactor: Double = 2
    public var backoffFactor: Double = 0.5
    /// Good steps in a row before the scale grows.
    public var growthInterval = 1000
    /// Overflows before the scale shrinks.
    public var hysteresis = 2
    public init() {}
  }

  public let options: Options
  public let isDynamic: Bool
  public private(set) var scale: Double
  public private(set) var growthTracker = 0
  public private(set) var hysteresisTracker: Int

  public init(_ options: Options = Options()) {
    self.options = options
    isDynamic = true
    scale = options.initial
    hysteresisTracker = options.hysteresis
  }

  /// A scale that never moves; 1 for bf16 and fp32.
  public init(fixed scale: Double) {
    options = Options()
    isDynamic = false
    self.scale = scale
    hysteresisTracker = options.hysteresis
  }

  /// Continues from a checkpoint.
  public mutating func restore(scale: Double, growthTracker: Int, hysteresisTracker: Int) {
    guard isDynamic else { return }
    self.scale = scale
    self.growthTracker = growthTracker
    self.hysteresisTracker = hysteresisTracker
  }

  /// Takes note of a step: skipped for overflow, or good.
  public mutating func update(overflow: Bool) {
    guard isDynamic else { return }
    if overflow {
      growthTracker = 0
      hysteresisTracker -= 1
      if hysteresisTracker <= 0 { scale = max(scale * options.backoffFactor, options.minimum) }
      return
    }
    growthTracker += 1
    guard growthTracker == options.growthInterval else { return }
    growthTracker = 0
    hysteresisTracker = options.hysteresis
    let grown = scale * options.growthFactor
    // The scale is a factor on fp32 values: one that is infinite there would stop training.
    if Float(grown).isFinite { scale = grown }
  }
}
