import Tensor

/// A trainable weight with what the optimizer must know beside it.
public struct OptimizedParameter: Sendable {
  public let parameter: Parameter
  /// Factor on the schedule's rate (`vit_lr`, `aligner_lr` divided by `lr`).
  public var learningRateScale: Double
  /// Weight decay applies.
  public var decays: Bool
  /// This rank's elements enter the global norm; false on all but one rank that hold them.
  public var countsInNorm: Bool
  /// The first part of the forward pass that uses the weight (`BackwardWatch`): its gradient is
  /// complete when the backward pass has left that part.
  public var forwardPart = 0

  public init(_ parameter: Parameter, learningRateScale: Double = 1, countsInNorm: Bool = true) {
    self.parameter = parameter
    self.learningRateScale = learningRateScale
    self.decays = parameter.decays
    self.countsInNorm = countsInNorm
  }

  /// The trainable ones of `parameters`, in their order.
  /// - Parameters:
  ///   - tensorRank: this rank's place in tp; replicated weights are counted by place 0.
  ///   - expertTensorRank: the same for weights of experts, in etp.
  public static func trainable(
    _ parameters: [Parameter], tensorRank: Int, expertTensorRank: Int,
    learningRateScale: (Parameter) -> Double = { _ in 1 },
    forwardPart: (Parameter) -> Int = { _ in 0 }
  ) -> [OptimizedParameter] {
    parameters.filter(\.isTrainable).map {
      let place = $0.role.isExpert ? expertTensorRank : tensorRank
      var item = OptimizedParameter(
        $0, learningRateScale: learningRateScale($0),
        countsInNorm: !$0.role.isReplicated || place == 0)
      item.forwardPart = forwardPart($0)
      return item
    }
  }
}

/// Parameters that are stepped alike: what a checkpoint calls `param_groups`.
public struct ParameterGroup: Sendable, Equatable {
  public let isExpert: Bool
  public let decays: Bool
  public let learningRateScale: Double
  /// Names of the members, in registration order.
  public var names: [String]

  /// The groups of `parameters`, in the order of their first member.
  public static func groups(of parameters: [OptimizedParameter]) -> [ParameterGroup] {
    var groups: [ParameterGroup] = []
    for item in parameters {
      let isExpert = item.parameter.role.isExpert
      let place = groups.firstIndex {
        $0.isExpert == isExpert && $0.decays == item.decays
          && $0.learningRateScale == item.learningRateScale
      }
      if let place {
        groups[place].names.append(item.parameter.name)
      } else {
        groups.append(
          ParameterGroup(
            isExpert: isExpert, decays: item.decays, learningRateScale: item.learningRateScale,
            names: [item.parameter.name]))
      }
    }
    return groups
  }
}
