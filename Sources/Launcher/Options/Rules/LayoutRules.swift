import Support

extension TrainingRules {
  /// Conditions between the parallel sizes and the world; what the model must divide is checked
  /// with the mesh, once its config is read.
  static let parallel: [OptionRule<TrainingOptions>] = [
    OptionRule("world_divides", code: .worldDoesNotFit) { options in
      let world = options.report.world.size
      let layout = options.parallel
      let dense = options.modelParallelSize
      let expert = layout.expertTensor * layout.expert * layout.pipeline
      var missing: [String] = []
      if world % dense != 0 {
        missing.append(
          "\(dense) (tensor \(layout.tensor) · pipeline \(layout.pipeline) · context \(layout.context))"
        )
      }
      if world % expert != 0 {
        missing.append(
          "\(expert) (expert tensor \(layout.expertTensor) · expert \(layout.expert) · pipeline "
            + "\(layout.pipeline))")
      }
      guard !missing.isEmpty else { return nil }
      return "the world of \(world) rank\(world == 1 ? "" : "s") is not divisible by "
        + missing.joined(separator: " and by ")
        + "; start a multiple of both products (\(leastCommonMultiple(dense, expert)) ranks) with mpirun -n"
    }
  ]

  /// Conditions of the router.
  static let experts: [OptionRule<TrainingOptions>] = [
    OptionRule("padding_needs_capacity") { options in
      options.experts.padExpertInputToCapacity && options.experts.expertCapacityFactor == nil
        ? "--moe_pad_expert_input_to_capacity needs --moe_expert_capacity_factor" : nil
    },
    OptionRule("shared_overlap_needs_alltoall") { options in
      options.experts.sharedExpertOverlap && options.experts.tokenDispatcherType != .alltoall
        ? "--moe_shared_expert_overlap needs --moe_token_dispatcher_type alltoall" : nil
    },
  ]

  private static func leastCommonMultiple(_ a: Int, _ b: Int) -> Int {
    var x = a
    var y = b
    while y != 0 { (x, y) = (y, x % y) }
    let result = (a / x).multipliedReportingOverflow(by: b)
    return result.overflow ? Int.max : result.partialValue
  }
}
