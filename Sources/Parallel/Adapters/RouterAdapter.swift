import Support
import Tensor

// t/tp rows of this rank   h hidden   e experts   R rank

/// The adapter of a router, in one forward pass: logits are fp32, so it is computed in fp32.
struct RouterAdapter: Sendable {
  let pair: LowRankPair
  let keys: RowKeys?
  let u: Tensor  // [t/tp, R] fp32

  /// `z[t, e] += drop(x) · Aᵀ · (s·B)ᵀ`.
  init(
    _ pair: LowRankPair, _ x: Tensor, keys: RowKeys?, addingTo logits: Tensor
  ) throws(Fault) {
    self.pair = pair
    self.keys = keys
    let engine = x.engine
    u = try Tensor([x.rows, pair.width], .float32, on: engine)
    engine.multiply(
      Product(
        .forward, try RouterAdapter.input(x, pair, keys), try pair.a.tensor.converted(to: .float32),
        into: u))
    engine.multiply(
      Product(
        .forward, u, try pair.scaledB().converted(to: .float32), into: logits, adds: true))
  }

  private static func input(_ x: Tensor, _ pair: LowRankPair, _ keys: RowKeys?) throws(Fault)
    -> Tensor
  {
    try pair.input(x, keys).converted(to: .float32)
  }

  /// Adds the weights' gradients and returns that of `u`.
  func gradients(_ dz: Tensor, _ x: Tensor?, _ tree: RowTree) throws(Fault) -> Tensor {
    let du = try Tensor(u.shape, .float32, on: u.engine)
    du.engine.multiply(
      Product(.inputGradient, dz, try pair.scaledB().converted(to: .float32), into: du))
    if pair.b.isTrainable {
      try pair.b.addGradient(try pair.gradientOfB(try tree.product(dz, u)))
    }
    if pair.a.isTrainable, let x {
      try pair.a.addGradient(try tree.product(du, try RouterAdapter.input(x, pair, keys)))
    }
    return du
  }

  /// `dx[t, h] += drop(du · A)`.
  func addInputGradient(_ du: Tensor, to dx: Tensor) throws(Fault) {
    let own = try pair.inputGradient(try du.converted(to: pair.dtype), as: dx.dtype, keys)
    dx.engine.add(dx, own, into: dx)
  }
}
