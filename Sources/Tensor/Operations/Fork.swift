import Support

/// A use of a value whose gradient is summed by itself before it is added to that of other uses.
///
/// A recomputed block gives one gradient for its input; without recomputation the uses inside a block
/// would be added one by one to those outside, in another order of additions.
public struct Fork: Operation {
  public static let name: StaticString = "fork"
  public var savedBytes: Int { 0 }
  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] { [dy] }
}

extension Tape {
  /// - Returns: `x` itself, as a value of its own on the tape.
  public func fork(_ x: Value) -> Value { record(x.tensor, x.placement, from: [x], Fork()) }
}
