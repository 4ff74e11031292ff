/// Clipping by the global norm.
public enum Clip {
  /// What gradients are multiplied by: `limit / (norm + 1e-6)` where that is below 1.
  ///
  /// A `limit` of 0 clips nothing. A NaN norm gives 1 and an infinite one 0, as the reference
  /// does; whether such a step is applied at all is for `StepPolicy` to say.
  /// - Source: Pascanu et al. 2013; Megatron-LM `clip_grads.py`.
  public static func factor(norm: Double, limit: Double) -> Double {
    guard limit > 0 else { return 1 }
    let factor = limit / (norm + 1e-6)
    return factor < 1 ? factor : 1
  }
}
