import Support

/// Brings together rows that lie on several ranks, in the order in which one rank would have them.
///
/// A weight whose rows are shared needs them for its gradient: the sum over rows then has the bits of
/// one rank. The room of communicators provides it; this room knows nothing of ranks.
public protocol RowGathering: Sendable {
  /// - Parameter rows: `[t, …]`, this rank's; it may have none.
  /// - Returns: `[all, …]`, the same on every rank.
  func whole(_ rows: Tensor) throws(Fault) -> Tensor
}
