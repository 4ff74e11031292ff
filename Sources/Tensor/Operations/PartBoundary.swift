import Support

/// Told how far the backward pass of a micro-batch has come.
///
/// The parts of a model are counted in the order of the forward pass; a weight belongs to the first
/// part that uses it.
public protocol BackwardWatch: AnyObject, Sendable {
  /// No gradient will be added any more, in this micro-batch, to weights of `part` or later ones.
  /// - Throws: what starting their exchange meets.
  func gradientsAreComplete(from part: Int) throws(Fault)
}

/// The place in a forward pass where a part of the model begins: the identity.
///
/// A tape is walked in strict reverse order, so when its backward pass comes here, everything that
/// was recorded later has added its gradients.
public struct PartBoundary: Operation {
  public static let name: StaticString = "part boundary"
  let part: Int
  let watch: any BackwardWatch

  public var savedBytes: Int { 0 }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    try watch.gradientsAreComplete(from: part)
    return [dy]
  }
}

extension Tape {
  /// `x`, where part `part` of the model begins; nothing is recorded without a `watch`. Where no
  /// gradient flows into `x` nobody is told, and the end of the backward pass has to do.
  public func boundary(_ x: Value, of part: Int, _ watch: (any BackwardWatch)?) -> Value {
    guard let watch else { return x }
    return record(x.tensor, x.placement, from: [x], PartBoundary(part: part, watch: watch))
  }
}
