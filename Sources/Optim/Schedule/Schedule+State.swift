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

  /// Samples trained so far by a stored record that agrees with this schedule.
  /// - Throws: `OPTIM-104` naming the first value that differs, with both.
  public func samples(from state: JSONObject) throws(Fault) -> Int {
    guard let samples = state["num_steps"]?.int, samples >= 0 else {
      throw Fault(
        .stateMismatch, "the schedule in the checkpoint has no num_steps",
        expected: "the samples trained so far",
        fix: "load the weights only, with no_load_optim or finetune")
    }
    for (key, own) in self.state(samples: samples).members where key != "num_steps" {
      guard let stored = state[key] else { continue }
      let isEqual =
        own.double.map { stored.double == $0 } ?? (own.string == stored.string)
      guard isEqual else {
        throw Fault(
          .scheduleDiffers, "\(key) is not the one of the checkpoint",
          expected: stored.write(), found: own.write(),
          fix: "give the flags of the saved run, or override_opt_param_scheduler true")
      }
    }
    return samples
  }
}
