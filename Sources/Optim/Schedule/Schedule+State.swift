import Support

extension Schedule {
  /// The record a checkpoint keeps, with the keys of Megatron's `opt_param_scheduler`.
  public func state(samples: Int) -> JSONObject {
    let o = options
    let warmup: JSONValue =
      o.warmupFraction == nil ? JSONValue(Int(warmupSamples)) : JSONValue(warmupSamples)
    return JSONObject([
      ("max_lr", JSONValue(o.learningRate)), ("lr_warmup_steps", warmup),
      ("num_steps", JSONValue(samples)), ("lr_decay_style", .string(o.style.rawValue)),
      ("lr_decay_steps", JSONValue(decaySamples)), ("min_lr", JSONValue(o.minimum)),
      ("start_wd", JSONValue(o.startWeightDecay)), ("end_wd", JSONValue(o.endWeightDecay)),
      ("wd_incr_style", .string(o.weightDecayStyle.rawValue)),
      ("wd_incr_steps", JSONValue(weightDecaySamples)),
    ])
  }

  /// The schedule of a stored record; what a record does not hold (the start of the warmup, the last part
  /// of WSD) stays as it is.
  /// - Throws: `OPTIM-401` for a record without a value, or with one of another kind.
  public func taking(_ state: JSONObject) throws(Fault) -> Schedule {
    func missing(_ key: String) -> Fault {
      Fault(
        .stateMismatch, "the schedule in the checkpoint has no \(key) of a known kind",
        found: state[key].map { $0.write() } ?? "nothing",
        fix: "leave use_checkpoint_opt_param_scheduler out and give the flags of the saved run")
    }
    func number(_ key: String) throws(Fault) -> Double {
      guard let value = state[key]?.double else { throw missing(key) }
      return value
    }
    func count(_ key: String) throws(Fault) -> Int {
      guard let value = state[key]?.int, value >= 0 else { throw missing(key) }
      return value
    }
    var options = options
    guard let style = state["lr_decay_style"]?.string.flatMap(LearningRateStyle.init) else {
      throw missing("lr_decay_style")
    }
    guard let ramp = state["wd_incr_style"]?.string.flatMap(WeightDecayStyle.init) else {
      throw missing("wd_incr_style")
    }
    (options.style, options.weightDecayStyle) = (style, ramp)
    options.learningRate = try number("max_lr")
    options.minimum = try number("min_lr")
    options.startWeightDecay = try number("start_wd")
    options.endWeightDecay = try number("end_wd")
    return try Schedule(
      options,
      lengths: Lengths(
        warmup: try number("lr_warmup_steps"), decay: try count("lr_decay_steps"),
        weightDecay: try count("wd_incr_steps")))
  }

  /// Values of a stored record that follow from the length of training.
  public static let lengthKeys: Set<String> = [
    "lr_decay_steps", "lr_warmup_steps", "wd_incr_steps",
  ]

  /// A value of a stored record that is not the schedule's.
  public struct Difference: Sendable, Equatable {
    public let key: String
    public let stored: String
    public let own: String
  }

  /// Values of a stored record that differ and have an effect: nothing grows or falls over a length
  /// in a constant schedule.
  public func differences(from state: JSONObject) -> [Difference] {
    var unused: Set<String> = ["num_steps"]
    if options.weightDecayStyle == .constant { unused.insert("wd_incr_steps") }
    if options.style == .constant { unused.insert("lr_decay_steps") }
    return self.state(samples: 0).members.compactMap { key, own in
      guard !unused.contains(key), let stored = state[key] else { return nil }
      let isEqual =
        own.double.map { stored.double == $0 } ?? (own.string == stored.string)
      return isEqual ? nil : Difference(key: key, stored: stored.write(), own: own.write())
    }
  }

  /// Samples trained so far by a stored record that agrees with this schedule.
  /// - Parameter allowed: keys whose values may differ.
  /// - Throws: `OPTIM-104` naming the first value that differs, with both.
  public func samples(
    from state: JSONObject, allowing allowed: Set<String> = []
  ) throws(Fault) -> Int {
    guard let samples = state["num_steps"]?.int, samples >= 0 else {
      throw Fault(
        .stateMismatch, "the schedule in the checkpoint has no num_steps",
        expected: "the samples trained so far",
        fix: "load the weights only, with no_load_optim or finetune")
    }
    if let first = differences(from: state).first(where: { !allowed.contains($0.key) }) {
      throw Fault(
        .scheduleDiffers, "\(first.key) is not the one of the checkpoint",
        expected: first.stored, found: first.own,
        fix: "give the flags of the saved run, or override_opt_param_scheduler true")
    }
    return samples
  }
}
