import Support

/// Router and experts.
public struct MoEFlags: Sendable {
  public enum DropPolicy: String, OptionChoice { case probs, position }
  public enum Dispatcher: String, OptionChoice {
    case alltoall, allgather, flex
    case alltoallSeq = "alltoall_seq"
  }
  public enum LoadBalancing: String, OptionChoice {
    case auxLoss = "aux_loss"
    case seqAuxLoss = "seq_aux_loss"
    case sinkhorn, none
  }
  public enum RouterDType: String, OptionChoice { case fp32, fp64, none }
  public enum ScoreFunction: String, OptionChoice { case softmax, sigmoid }
  /// Over which rows the capacity of an expert is counted.
  public enum CapacityScope: String, OptionChoice { case group, rank }

  public var groupedGEMM = false
  public var auxLossCoeff = 0.0
  public var zLossCoeff: Double?
  /// Negative values are read as unset.
  public var expertCapacityFactor: Double?
  public var padExpertInputToCapacity = false
  public var tokenDropPolicy = DropPolicy.probs
  public var tokenDispatcherType = Dispatcher.alltoall
  /// nil: `aux_loss`.
  public var loadBalancingType: LoadBalancing?
  public var routerDType = RouterDType.fp32
  /// nil: `softmax`.
  public var scoreFunction: ScoreFunction?
  /// nil: the contrary of `norm_topk_prob`.
  public var preSoftmax: Bool?
  public var topKScalingFactor: Double?
  public var sharedExpertOverlap = false
  public var capacityScope = CapacityScope.group

  public init() {}

  private static let noShared = "the models that are trained here have no shared expert"

  static let rows: [Option<MoEFlags>] =
    [
      Option(\.groupedGEMM, "moe_grouped_gemm", "All experts of a rank in one call.")
        .noEffect("that is always so"),
      Option(
        recorded: "moe_permute_fusion", .bool, .bool(false), "Sort rows while they are copied."
      ).noEffect("that is always so"),
      Option(
        \.sharedExpertOverlap, "moe_shared_expert_overlap",
        "Overlap the shared expert with the exchange."
      ).noEffect(noShared),
      Option(\.auxLossCoeff, "moe_aux_loss_coeff", "Weight of the load-balancing loss.").atLeast(
        0.0),
      Option(\.zLossCoeff, "moe_z_loss_coeff", "Weight of the router's z-loss.").atLeast(0.0),
      .init(
        \.expertCapacityFactor, "moe_expert_capacity_factor",
        "Drop tokens above this multiple of the mean load; negative values drop none."),
      .init(
        \.padExpertInputToCapacity, "moe_pad_expert_input_to_capacity",
        "Give every expert exactly its capacity."),
      .init(
        \.tokenDropPolicy, "moe_token_drop_policy",
        "Drop the tokens with the smallest gates, or the last ones."),
      .init(
        \.tokenDispatcherType, "moe_token_dispatcher_type",
        "How tokens travel; all values use the all-to-all exchange."),
      Option(\.loadBalancingType, "moe_router_load_balancing_type", "Kind of load balancing.")
        .refusing(["sinkhorn"], "sinkhorn routing is not built"),
    ].map { $0.spec.name == "moe_router_load_balancing_type" ? $0.unset("aux_loss") : $0 }
    .under(.experts) + routerRows

  private static let routerRows: [Option<MoEFlags>] = [
    .init(\.routerDType, "moe_router_dtype", "Type of the router's arithmetic."),
    Option(\.scoreFunction, "moe_router_score_function", "Scores of the experts.").unset("softmax"),
    Option(\.preSoftmax, "moe_router_pre_softmax", "Softmax before the choice of experts.").unset(
      "not norm_topk_prob"),
    .init(\.topKScalingFactor, "moe_router_topk_scaling_factor", "Multiplies the gates."),
    Option(
      recorded: "moe_router_enable_expert_bias", .optionalBool, "Balance by a bias on the scores."
    )
    .refused("expert biases are not trained yet; use the auxiliary loss"),
    Option(
      recorded: "moe_router_bias_update_rate", .float, .float(1e-3), "Step of the expert bias."
    )
    .noEffect("expert biases are not trained yet"),
    Option(recorded: "moe_enable_deepep", .bool, .bool(false), "DeepEP exchange.").refused(
      "DeepEP needs GPUs"),
    Option(recorded: "moe_shared_expert_intermediate_size", .int, "Width of the shared expert.")
      .check { $0 == .int(0) ? nil : noShared },
    Option(recorded: "use_shared_expert_gate", .optionalBool, "Gate of the shared expert.").refused(
      noShared),
  ].under(.experts)

  static let ownRows: [Option<MoEFlags>] = [
    .init(
      \.capacityScope, "moe_capacity_scope",
      "Count capacity over the micro-batch of a data-parallel rank, or over each rank's rows as the reference does."
    )
  ].under(.own)
}
