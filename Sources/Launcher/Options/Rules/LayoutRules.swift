import Support

extension TrainingRules {
  /// Conditions between the parallel sizes, the world and the given parts of the architecture.
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
    },
    OptionRule("architecture_fits_layout", code: .worldDoesNotFit) { options in
      let violations = ModelShape(options.architecture).violations(options)
      return violations.isEmpty ? nil : violations.joined(separator: "; ")
    },
  ]

  /// Conditions of the router.
  static let experts: [OptionRule<TrainingOptions>] = [
    OptionRule("capacity_needs_known_balancing") { options in
      guard options.experts.expertCapacityFactor != nil,
        options.experts.loadBalancingType == .sinkhorn
      else { return nil }
      return "--moe_expert_capacity_factor works with --moe_router_load_balancing_type aux_loss, "
        + "seq_aux_loss or none, not sinkhorn"
    },
    OptionRule("padding_needs_capacity") { options in
      options.experts.padExpertInputToCapacity && options.experts.expertCapacityFactor == nil
        ? "--moe_pad_expert_input_to_capacity needs --moe_expert_capacity_factor" : nil
    },
    OptionRule("shared_overlap_needs_alltoall") { options in
      options.experts.sharedExpertOverlap && options.experts.tokenDispatcherType != .alltoall
        ? "--moe_shared_expert_overlap needs --moe_token_dispatcher_type alltoall" : nil
    },
    OptionRule("sinkhorn_without_aux_loss") { options in
      options.experts.loadBalancingType == .sinkhorn && options.experts.auxLossCoeff != 0
        ? "--moe_router_load_balancing_type sinkhorn needs --moe_aux_loss_coeff 0" : nil
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

/// The sizes of a model that a parallel layout must divide; nil is unknown and not checked.
public struct ModelShape: Sendable {
  public var attentionHeads: Int?
  public var queryGroups: Int?
  public var feedForward: Int?
  public var vocabulary: Int?
  public var experts: Int?
  public var expertFeedForward: Int?
  /// Whether the model is known to have no experts.
  public var isDense = false

  public init() {}

  init(_ flags: ArchitectureFlags) {
    attentionHeads = flags.numAttentionHeads
    queryGroups = flags.numQueryGroups
    feedForward = flags.ffnHiddenSize
    experts = flags.numExperts
    expertFeedForward = flags.moeFFNHiddenSize
  }

  /// Every way in which the layout of the options does not fit this model.
  public func violations(_ options: TrainingOptions) -> [String] {
    let layout = options.parallel
    var found: [String] = []
    func divides(_ value: Int?, _ by: Int, _ what: String, _ flag: String) {
      guard let value, value % by != 0 else { return }
      found.append("\(what) \(value) is not divisible by --\(flag) \(by)")
    }
    let tensor = "tensor_model_parallel_size"
    divides(attentionHeads, layout.tensor, "num_attention_heads", tensor)
    divides(queryGroups, layout.tensor, "num_query_groups", tensor)
    divides(vocabulary, layout.tensor, "the vocabulary of", tensor)
    if experts == nil { divides(feedForward, layout.tensor, "ffn_hidden_size", tensor) }
    divides(experts, layout.expert, "num_experts", "expert_model_parallel_size")
    divides(
      expertFeedForward, layout.expertTensor, "moe_ffn_hidden_size", "expert_tensor_parallel_size")
    if isDense, layout.expert > 1 {
      found.append("--expert_model_parallel_size \(layout.expert) needs a model with experts")
    }
    if experts != nil, layout.tensor > 1, !layout.sequenceParallel {
      found.append(
        "a model with experts needs --sequence_parallel true when --\(tensor) is above 1 "
          + "(it is \(layout.tensor))")
    }
    return found
  }
}
