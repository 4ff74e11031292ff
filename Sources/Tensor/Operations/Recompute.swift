import Support

/// Runs a block without keeping anything but its inputs, and runs it again when its gradient is
/// wanted.
///
/// `block` is called twice with the same inputs and must do the same both times: same collectives,
/// same routing. It sees on which pass it is by whether its tape records.
/// - Source: Chen et al. 2016.
public struct Recompute: Operation {
  public static let name: StaticString = "recompute"
  /// Without their places on the outer tape.
  let inputs: [Value]
  let block: @Sendable ([Value], Tape) throws(Fault) -> Value

  public var savedBytes: Int { inputs.reduce(0) { $0 + $1.tensor.byteCount } }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let tape = Tape()
    let leaves = inputs.enumerated().map { i, input in
      wanting.contains(i) ? tape.leaf(input.tensor, input.placement) : input
    }
    let output = try block(leaves, tape)
    try tape.seed(output, with: dy)
    try tape.backward()
    return leaves.map { tape.gradient(of: $0) }
  }
}

extension Tape {
  /// - Parameters:
  ///   - inputs: everything the block takes whose gradient may be wanted.
  ///   - trains: the block has trainable weights.
  ///   - block: the computation, given its inputs and the tape to record on.
  /// - Returns: what `block` returns, recorded as one operation.
  public func recompute(
    _ inputs: [Value], trains: Bool,
    _ block: @escaping @Sendable ([Value], Tape) throws(Fault) -> Value
  ) throws(Fault) -> Value {
    let silent = Tape(recording: false)
    let plain = inputs.map { Value($0.tensor, $0.placement) }
    let y = try block(plain, silent)
    return record(
      y.tensor, y.placement, from: inputs, trains: trains,
      Recompute(inputs: plain, block: block))
  }

  /// The same for a block with one input.
  public func recompute(
    _ x: Value, trains: Bool, _ block: @escaping @Sendable (Value, Tape) throws(Fault) -> Value
  ) throws(Fault) -> Value {
    try recompute([x], trains: trains) { (inputs, tape) throws(Fault) in
      try block(inputs[0], tape)
    }
  }
}
