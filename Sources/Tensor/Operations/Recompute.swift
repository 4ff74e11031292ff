import Support

/// Runs a block without keeping anything but its input, and runs it again when its gradient is
/// wanted.
///
/// `block` is called twice with the same input and must do the same both times: same collectives,
/// same routing. It sees on which pass it is by whether its tape records.
/// - Source: Chen et al. 2016.
public struct Recompute: Operation {
  public static let name: StaticString = "recompute"
  let input: Tensor
  let placement: Placement
  let block: @Sendable (Value, Tape) throws(Fault) -> Value

  public var savedBytes: Int { input.byteCount }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let tape = Tape()
    let leaf = tape.leaf(input, placement)
    let output = try block(leaf, tape)
    try tape.seed(output, with: dy)
    try tape.backward()
    return [wanting.contains(0) ? tape.gradient(of: leaf) : nil]
  }
}

extension Tape {
  /// - Parameter block: the computation, given its input and the tape to record on.
  /// - Returns: what `block` returns, recorded as one operation.
  public func recompute(
    _ x: Value, trains: Bool, _ block: @escaping @Sendable (Value, Tape) throws(Fault) -> Value
  ) throws(Fault) -> Value {
    let silent = Tape(recording: false)
    let y = try block(Value(x.tensor, x.placement), silent)
    return record(
      y.tensor, y.placement, from: [x], trains: trains,
      Recompute(input: x.tensor, placement: x.placement, block: block))
  }
}
