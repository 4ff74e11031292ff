import Support
import Tensor

/// Mixture of experts: router, dispatch, experts, combine.
///
///     y[t] = Σ over kept experts e of gate[t, e] · expert_e(x[t])
///
/// A row that lost all its experts gives zero.
/// - Parameter x: `[t, h]` `same` in a tensor-parallel group of one, else `[t/tp, h]` `split(0)`.
/// - Returns: placed as `x`.
/// - Throws: `PLACE-201` without sequence parallelism in a larger group: each rank would route the
///   same rows.
/// - Communication: those of `Router` and `TokenDispatcher`.
public struct ExpertLayer: Sendable {
  public let router: Router
  public let experts: GroupedExperts

  public init(router: Router, experts: GroupedExperts) {
    self.router = router
    self.experts = experts
  }

  public func callAsFunction(
    _ x: Value, recipe: (any Recipe)? = nil, in context: Context
  ) throws(Fault) -> Value {
    if context.groups.tp.size > 1 {
      try x.require(
        .tp, [.split(0)], in: "ExpertLayer",
        hint: "experts with tensor parallelism need sequence parallelism")
    }
    if let sharers = context.setting.rowSharers, sharers.size > 1 {
      let own = Value(try sharers.ownRows(of: x.tensor), x.placement)
      let y = try mix(own, recipe: nil, in: context)
      return Value(try sharers.gathered(y.tensor), x.placement)
    }
    return try mix(x, recipe: recipe, in: context)
  }

  private func mix(_ x: Value, recipe: (any Recipe)?, in context: Context) throws(Fault) -> Value {
    let (gates, routing) = try router(x, recipe: recipe, in: context)
    if let statistics = context.setting.statistics, context.tape.isRecording {
      statistics.dropped += routing.kept.count { !$0 }
    }
    let dispatcher = TokenDispatcher(routing, groups: context.groups)
    let rows = try dispatcher.dispatch(x, on: context.tape)
    let weights = try dispatcher.dispatch(gates: gates, on: context.tape)
    var experts = experts
    experts.recomputesActivation = context.setting.recompute.contains(.expertActivation)
    let out = try experts(rows, gates: weights, routing: routing, context: context)
    return try dispatcher.combine(out, like: x, on: context.tape)
  }
}
