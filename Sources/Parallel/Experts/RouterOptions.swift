/// How tokens choose experts. Names follow the flags `moe_…`.
public struct RouterOptions: Sendable, Equatable {
  public enum Score: String, Sendable { case softmax, sigmoid }
  public enum Balancing: String, Sendable {
    case auxLoss = "aux_loss"
    case sequenceAuxLoss = "seq_aux_loss"
    case none
  }
  public enum Precision: String, Sendable { case fp32, fp64, none }
  public enum DropPolicy: String, Sendable { case probs, position }
  /// Over which rows the capacity is counted: the micro-batch of one data-parallel rank (the same
  /// drops in every layout), or this rank's rows (the reference).
  public enum CapacityScope: String, Sendable { case group, rank }

  public var experts: Int
  public var topK: Int
  public var score = Score.softmax
  /// Softmax over all experts before the choice, without renormalising.
  public var preSoftmax = false
  public var scalingFactor: Float?
  public var precision = Precision.fp32
  public var balancing = Balancing.auxLoss
  public var auxLossCoefficient: Float = 0
  public var zLossCoefficient: Float = 0
  public var capacityFactor: Double?
  public var padsToCapacity = false
  public var dropPolicy = DropPolicy.probs
  public var capacityScope = CapacityScope.group

  public init(experts: Int, topK: Int) {
    self.experts = experts
    self.topK = topK
  }
}

/// What the routers of a step report; a sum per quantity over layers and micro-batches.
///
/// Unchecked: written by the thread that drives the rank only.
public final class RouterStatistics: @unchecked Sendable {
  /// Σ of auxiliary losses without their coefficient.
  public var auxiliaryLoss = 0.0
  public var zLoss = 0.0
  public var layers = 0
  public var assignments = 0
  public var dropped = 0
  public init() {}
}
