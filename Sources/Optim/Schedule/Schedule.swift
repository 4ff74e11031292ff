import Foundation
import Support

/// Learning rate and weight decay as pure functions of the samples trained so far.
///
/// Skipped steps do not move them. The first step runs at the rate of zero samples, so with a
/// warmup it changes no weight.
/// - Source: Megatron-LM `optimizer_param_scheduler.py`; WSD: Hu et al. 2024 (MiniCPM).
public struct Schedule: Sendable, Equatable {
  public let options: ScheduleOptions
  /// Samples of warmup: a whole number unless given as a fraction.
  public let warmupSamples: Double
  public let decaySamples: Int
  public let stableDecaySamples: Int
  public let weightDecaySamples: Int

  /// - Parameter lengths: those of a saved run; without them they follow from the options.
  /// - Throws: `OPTIM-101` naming the flag whose value contradicts another.
  public init(_ options: ScheduleOptions, lengths: Lengths? = nil) throws(Fault) {
    try Schedule.checkLengths(options)
    self.options = options
    let batch = options.globalBatchSize
    decaySamples =
      lengths?.decay ?? (options.decayIterations ?? options.trainIterations) * batch
    warmupSamples =
      lengths?.warmup ?? options.warmupFraction.map { [decaySamples] in $0 * Double(decaySamples) }
      ?? Double(options.warmupIterations * batch)
    stableDecaySamples = (options.stableDecayIterations ?? 0) * batch
    weightDecaySamples = lengths?.weightDecay ?? options.trainIterations * batch
    try checkRates()
  }

  /// Lengths in samples.
  public struct Lengths: Sendable, Equatable {
    public var warmup: Double
    public var decay: Int
    public var weightDecay: Int
  }

  private static func refuse(_ flag: String, _ message: String, _ expected: String) -> Fault {
    Fault(.scheduleRefused, message, at: .flag(flag), expected: expected)
  }

  private static func checkLengths(_ o: ScheduleOptions) throws(Fault) {
    let longest = 1 << 31  // products of two lengths stay far below Int.max
    func check(_ flag: String, _ value: Int, from least: Int) throws(Fault) {
      guard value >= least, value <= longest else {
        throw refuse(flag, "\(value) is out of range", "\(least) to \(longest)")
      }
    }
    try check("train_iters", o.trainIterations, from: 1)
    try check("global_batch_size", o.globalBatchSize, from: 1)
    try check("lr_warmup_iters", o.warmupIterations, from: 0)
    if let decay = o.decayIterations { try check("lr_decay_iters", decay, from: 1) }
    if let decay = o.stableDecayIterations { try check("lr_wsd_decay_iters", decay, from: 0) }
    if let fraction = o.warmupFraction {
      guard fraction >= 0, fraction < 1 else {
        throw refuse("lr_warmup_fraction", "\(fraction) is no part of the decay", "0 to below 1")
      }
      guard o.warmupIterations == 0 else {
        throw refuse(
          "lr_warmup_fraction", "the warmup is given twice",
          "either lr_warmup_fraction or lr_warmup_iters")
      }
    }
  }

  private func checkRates() throws(Fault) {
    let o = options
    guard o.learningRate >= 0, o.learningRate.isFinite else {
      throw Schedule.refuse("lr", "\(o.learningRate) is no learning rate", "0 or above")
    }
    guard o.minimum >= 0, o.minimum <= o.learningRate else {
      throw Schedule.refuse("min_lr", "\(o.minimum) is no floor", "0 to lr = \(o.learningRate)")
    }
    guard o.warmupInit >= 0, o.warmupInit <= o.learningRate else {
      throw Schedule.refuse(
        "lr_warmup_init", "\(o.warmupInit) is no start", "0 to lr = \(o.learningRate)")
    }
    guard warmupSamples < Double(decaySamples) else {
      throw Schedule.refuse(
        o.warmupFraction == nil ? "lr_warmup_iters" : "lr_warmup_fraction",
        "the warmup of \(warmupSamples) samples is not shorter than the decay",
        "below lr_decay_iters * global_batch_size = \(decaySamples)")
    }
    if o.style == .warmupStableDecay, o.stableDecayIterations == nil {
      throw Schedule.refuse(
        "lr_wsd_decay_iters", "lr_decay_style WSD needs the length of its decay", "a number")
    }
    guard o.startWeightDecay >= 0, o.endWeightDecay >= o.startWeightDecay,
      o.endWeightDecay.isFinite
    else {
      throw Schedule.refuse(
        "weight_decay", "\(o.startWeightDecay) to \(o.endWeightDecay) is no ramp",
        "0 <= start_weight_decay <= end_weight_decay")
    }
    if o.weightDecayStyle == .constant, o.startWeightDecay != o.endWeightDecay {
      throw Schedule.refuse(
        "weight_decay_incr_style", "a constant decay has two values",
        "start_weight_decay = end_weight_decay, or style linear or cosine")
    }
  }

  /// The rate of a step before which `samples` samples were trained.
  /// - Parameter scale: the group's factor (`vit_lr`, `aligner_lr` divided by `lr`); the floor is
  ///   scaled too.
  public func learningRate(samples: Int, scale: Double = 1) -> Double {
    scale * rate(Double(samples))
  }

  private func rate(_ x: Double) -> Double {
    let o = options
    let peak = o.learningRate
    if warmupSamples > 0, x <= warmupSamples {
      return o.warmupInit + (peak - o.warmupInit) * x / warmupSamples
    }
    if o.style == .constant { return peak }
    if x > Double(decaySamples) { return o.minimum }
    if o.style == .inverseSquareRoot {
      return max(o.minimum, peak * max(warmupSamples, 1).squareRoot() / max(x, 1).squareRoot())
    }
    let progress = (x - warmupSamples) / (Double(decaySamples) - warmupSamples)
    let part: Double
    switch o.style {
    case .linear: part = 1 - progress
    case .cosine: part = 0.5 * (cos(.pi * progress) + 1)
    default: part = stablePart(x)
    }
    return o.minimum + part * (peak - o.minimum)
  }

  private func stablePart(_ x: Double) -> Double {
    let start = Double(decaySamples - stableDecaySamples)
    if x <= start { return 1 }
    let progress = (x - start) / Double(stableDecaySamples)
    switch options.stableDecayStyle {
    case .exponential: return 2 * pow(0.5, progress) - 1
    case .linear: return 1 - progress
    case .cosine: return 0.5 * (cos(.pi * progress) + 1)
    case .minusSquareRoot: return 1 - progress.squareRoot()
    }
  }

  /// The weight decay of a step before which `samples` samples were trained.
  public func weightDecay(samples: Int) -> Double {
    let o = options
    if o.weightDecayStyle == .constant || samples > weightDecaySamples { return o.endWeightDecay }
    let progress = Double(samples) / Double(weightDecaySamples)
    let part =
      o.weightDecayStyle == .linear ? progress : 0.5 * (cos(.pi * (1 - progress)) + 1)
    return o.startWeightDecay + part * (o.endWeightDecay - o.startWeightDecay)
  }
}
