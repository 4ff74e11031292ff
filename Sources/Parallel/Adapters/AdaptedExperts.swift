import Support
import Tensor

// R rows of this rank's experts   h hidden   f/etp feed-forward size   r sum of ranks of a pair

/// The adapters of both matrices of the experts and what their splitting over etp asks for.
///
/// Where experts are split, every etp rank holds the same rows: the As of the first and the Bs of
/// the second matrix are whole on each. What those give is added after the sum over ranks, by one
/// rank (zeros of the others are exact), so that the bits are those of unsplit experts.
struct AdaptedExperts: Sendable {
  let input: ExpertAdapters?
  let output: ExpertAdapters?
  let etp: any Communicator
  /// Of the rows in the order of the experts; nil without dropout.
  let keys: RowKeys?

  /// Adds to `fused` `[R, 2·f/etp]` and returns the narrow values `[R, r]`.
  /// - Parameter x: `[buffer rows, h]`.
  func addInput(_ x: Tensor, to fused: Tensor, _ routing: Routing) throws(Fault) -> Tensor? {
    guard let input else { return nil }
    let u = try input.down(try input.input(try ordered(x, routing), routing, keys), routing)
    try input.addUp(u, to: fused, routing)
    return u
  }

  /// Adds to the summands `y` `[R, h]` fp32 of the experts' outputs; leaves the whole sum on the first
  /// etp rank and zeros on the others.
  /// - Communication (etp): all-reduces of `R·r` and `R·h` fp32.
  func addOutput(
    _ activation: Tensor, to y: Tensor, _ routing: Routing, chunks: Int
  ) throws(Fault) -> Tensor? {
    guard let output else { return nil }
    let partial = try output.down(
      try output.input(activation, routing, keys), routing, inputChunks: chunks)
    let u = try etp.summed(partial, as: output.dtype)
    try sumThenOne(y) { (y) throws(Fault) in try output.addUp(u, to: y, routing) }
    return u
  }

  /// Gradients of the second matrix' adapters; adds to `dActivation` `[R, f/etp]`.
  func outputGradients(
    _ dy: Tensor, _ activation: Tensor?, _ u: Tensor?, into dActivation: Tensor, _ routing: Routing
  ) throws(Fault) {
    guard let output, let u else { return }
    let wide = try dy.converted(to: output.dtype)
    let du = try output.narrowGradient(wide, routing)
    if let activation, output.trains {
      try output.addWeightGradients(
        du: du, x: try output.input(activation, routing, keys), dy: wide, u: u, routing)
    }
    try output.addInputGradient(du, to: dActivation, routing, keys)
  }

  /// Gradients of the first matrix' adapters.
  /// - Returns: the gradient of the narrow values, summed over etp.
  /// - Communication (etp): an all-reduce of `R·r` fp32.
  func inputGradients(
    _ dFused: Tensor, _ x: Tensor?, _ u: Tensor?, _ routing: Routing, chunks: Int
  ) throws(Fault) -> Tensor? {
    guard let input, let u else { return nil }
    let wide = try dFused.converted(to: input.dtype)
    let partial = try input.narrowGradient(wide, routing, outputChunks: chunks)
    let du = try etp.summed(partial, as: input.dtype)
    if let x, input.trains {
      try input.addWeightGradients(
        du: du, x: try input.input(try ordered(x, routing), routing, keys), dy: wide, u: u, routing)
    }
    return du
  }

  /// Adds to the summands `dx` `[R, h]` fp32, as `addOutput`.
  func addInputGradient(_ du: Tensor, to dx: Tensor, _ routing: Routing) throws(Fault) {
    try sumThenOne(dx) { (dx) throws(Fault) in
      try input?.addInputGradient(du, to: dx, routing, keys)
    }
  }

  /// Sums over etp, changes the sum, and keeps it on one rank only.
  private func sumThenOne(_ x: Tensor, _ change: (Tensor) throws(Fault) -> Void) throws(Fault) {
    if etp.size > 1, !x.engine.isPlanning { try etp.allReduce(x.floats, order: .adjacentFirst) }
    try change(x)
    if etp.rank > 0 { x.clear() }
  }

  private func ordered(_ buffer: Tensor, _ routing: Routing) throws(Fault) -> Tensor {
    let out = try Tensor([routing.computedRows, buffer.rowSize], buffer.dtype, on: buffer.engine)
    routing.expertRows.withUnsafeBufferPointer {
      if let p = $0.baseAddress { buffer.engine.gatherRows(buffer, p, into: out) }
    }
    return out
  }
}

extension Context {
  /// Keys of the rows in the order of this rank's experts, wherever they came from.
  /// - Communication: as a dispatch of 8 bytes a row, only with dropout.
  func expertRowKeys(_ experts: GroupedExperts, _ routing: Routing) throws(Fault) -> RowKeys? {
    let pair = experts.inputAdapters.first ?? experts.outputAdapters.first
    guard let pair, let own = rowKeys(pair, setting.ownRows), !setting.engine.isPlanning else {
      return nil
    }
    // Keys travel as pairs of 32-bit words: rows are moved, never computed with.
    let sent = try Tensor([routing.sentRows.count, 2], .float32, on: setting.engine)
    let words = sent.pointer(as: UInt64.self)
    for (i, row) in routing.sentRows.enumerated() { words[i] = own.keys[Int(row)] }
    let buffer = try TokenDispatcher(routing, groups: groups).forward(sent)
    let received = buffer.pointer(as: UInt64.self)
    return RowKeys(keys: routing.expertRows.map { received[Int($0)] })
  }
}
