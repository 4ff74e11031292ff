import Optim

extension LossScaler {
  /// The scale of a run: 1 but for fp16, where it is dynamic unless the flags fix it.
  init(_ precision: PrecisionFlags.Compute, _ flags: ExtraFlags) {
    guard precision == .fp16 else {
      self.init(fixed: 1)
      return
    }
    if let fixed = flags.lossScale, fixed > 0 {
      self.init(fixed: fixed)
      return
    }
    var options = Options()
    options.initial = flags.initialLossScale
    options.minimum = flags.minLossScale
    options.growthInterval = flags.lossScaleWindow
    options.hysteresis = flags.hysteresis
    self.init(options)
  }
}

extension TrainingRun {
  /// What a gradient that is not finite means: with a dynamic scale the step is left out.
  var stepPolicy: StepPolicy {
    if lossScaler.isDynamic { return .skip }
    return options.extra.checkForNaN ? .stop : .apply
  }
}
