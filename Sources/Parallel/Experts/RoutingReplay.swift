/// Choices of experts that routers take over instead of making their own.
///
/// Which experts a token goes to is a jump: a rounding turns it over where two experts are nearly
/// tied, and the token's values change altogether. With the choices of another run given, what is
/// left to compare with that run is arithmetic. Gates, auxiliary losses and gradients come from the
/// own logits all the same.
public struct RoutingReplay: Sendable {
  /// The slots of one router for all rows of a micro-batch.
  public struct Slots: Sendable {
    /// `[t, k]`
    public let experts: [Int32]
    /// `[t, k]`: the slot survives the capacity; nil leaves that to the router's own rule.
    public let kept: [Bool]?

    public init(experts: [Int32], kept: [Bool]? = nil) {
      precondition(kept == nil || kept?.count == experts.count)
      self.experts = experts
      self.kept = kept
    }

    /// Those of some rows, `k` a row.
    func rows(_ rows: Range<Int>, topK k: Int) -> Slots {
      let slots = rows.lowerBound * k..<rows.upperBound * k
      precondition(rows.isEmpty || slots.upperBound <= experts.count, "too few stored choices")
      guard !rows.isEmpty else { return Slots(experts: [], kept: kept.map { _ in [] }) }
      return Slots(experts: Array(experts[slots]), kept: kept.map { Array($0[slots]) })
    }
  }

  /// By the label of the router; one that is missing chooses by itself.
  public var slots: [String: Slots]

  public init(_ slots: [String: Slots]) { self.slots = slots }
}
