import Parallel
import Support
import Tensor

/// What quantities may differ by.
///
/// In fp32 by the order of additions. In bf16 by roundings: a few percent, forward and backward, as
/// long as both sides send the same tokens to the same experts; a mixture is therefore compared with
/// the stored choices taken over (`RoutingReplay`). Left to itself it turns a choice over wherever a
/// rounding exceeds the margin: the reference model, with its weights moved by up to half a rounding,
/// gives logits 3 to 15 percent from its own fp32 ones (median 6), but less than 2 with the choices
/// given, so `ownChoices` and `routing` only tell a router that is at fault from one near a tie.
/// - Source: model.md 13 for the bands of dense models.
struct ParityBounds {
  let activation: Tolerance
  let gradient: Tolerance
  let logits: Tolerance
  /// Logits of a mixture that made its own choices.
  let ownChoices: Tolerance
  /// Share of (token, slot) choices that may differ.
  let routing: Double

  init(dtype: DType) {
    if dtype == .float32 {
      activation = Tolerance(relative: 1e-5, absolute: 1e-7)
      gradient = Tolerance(relative: 1e-4, absolute: 1e-7)
      logits = Tolerance(relative: 1e-5)
      ownChoices = activation
      routing = 0
    } else {
      activation = Tolerance(relative: 0.03)
      gradient = Tolerance(relative: 0.15, absolute: 1e-4)
      logits = Tolerance(relative: 0.015 * 1.5)
      ownChoices = Tolerance(relative: 0.2)
      routing = 0.1
    }
  }
}

extension RoutingReplay {
  /// The choices that a golden has stored; nil when it has none.
  /// - Throws: `MODEL-103` for choices that do not fit the model and the row.
  init?(_ golden: GoldenTensors, experts: Int, slots: Int) throws(Fault) {
    var all: [String: Slots] = [:]
    for name in golden.names where name.hasPrefix("router.") && name.hasSuffix(".topk_index") {
      let label = String(name.dropLast(".topk_index".count))
      let chosen = try golden.integers(name)
      guard chosen.count == slots, chosen.allSatisfy({ (0..<experts).contains($0) }) else {
        throw Fault(
          .badModelWeights, "\(name) does not fit the model",
          at: .tensor(name, file: golden.path),
          expected: "\(slots) numbers of \(experts) experts", found: "\(chosen.count) numbers")
      }
      all[label] = Slots(experts: chosen.map { Int32($0) })
    }
    if all.isEmpty { return nil }
    self.init(all)
  }
}
