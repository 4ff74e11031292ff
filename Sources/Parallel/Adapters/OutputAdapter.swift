import Support
import Tensor

// n trained tokens of the row   c tokens of one chunk   h hidden   v/tp local vocabulary   R rank

/// The adapter of the output layer in one pass over the trained tokens of a row, chunk by chunk as the
/// logits are formed. Every rank has all rows, so sums over them are one chain in every layout.
struct OutputAdapter {
  let pair: LowRankPair
  /// Of the trained tokens; nil without dropout.
  private let keys: RowKeys?
  private let tp: any Communicator
  private let chunks: Int
  private let scaledB: Tensor  // [v/tp, R]
  /// Of the adapter alone, complete on every rank: `[n, h]` fp32; nil without a backward pass.
  let rowGradient: Tensor?
  private let sums: (a: Tensor, b: Tensor)?  // [R, h], [v/tp, R] fp32

  /// - Parameters:
  ///   - keys: of all rows.
  ///   - rows: the trained tokens.
  ///   - width: h.
  ///   - chunks: canonical chunks of this rank's vocabulary.
  init(
    _ pair: LowRankPair, keys: RowKeys?, rows: [Int32], width: Int, chunks: Int,
    tp: any Communicator, differentiates: Bool
  ) throws(Fault) {
    self.pair = pair
    self.keys = keys.map { all in RowKeys(keys: rows.map { all.keys[Int($0)] }) }
    self.tp = tp
    self.chunks = chunks
    scaledB = try pair.scaledB()
    let engine = scaledB.engine
    rowGradient = differentiates ? try Tensor([rows.count, width], .float32, on: engine) : nil
    sums =
      differentiates
      ? (
        try Tensor.zeros(pair.a.shape, .float32, on: engine),
        try Tensor.zeros(scaledB.shape, .float32, on: engine)
      ) : nil
  }

  /// What a chunk keeps from its logits to its gradients.
  struct Chunk {
    fileprivate let range: Range<Int>
    fileprivate let keys: RowKeys?
    fileprivate let input: Tensor  // [c, h]
    fileprivate let u: Tensor  // [c, R]
  }

  /// `logits += drop(x) · Aᵀ · (s·B)ᵀ`.
  func add(to logits: Tensor, _ x: Tensor, _ range: Range<Int>) throws(Fault) -> Chunk {
    let own = keys.map { RowKeys(keys: Array($0.keys[range])) }
    let input = try pair.input(x, own)
    let u = try Tensor([x.rows, pair.width], pair.dtype, on: x.engine)
    x.engine.multiply(Product(.forward, input, pair.a.tensor, into: u))
    x.engine.multiply(Product(.forward, u, scaledB, into: logits, adds: true))
    return Chunk(range: range, keys: own, input: input, u: u)
  }

  /// Adds the chunk's part of the weights' gradients and forms that of its rows.
  /// - Parameter dz: `[c, v/tp]`.
  /// - Communication (tp): an all-reduce of `c·R` fp32.
  func gradients(_ chunk: Chunk, _ dz: Tensor) throws(Fault) {
    guard let sums, let rowGradient else { return }
    let engine = dz.engine
    let wide = try dz.converted(to: pair.dtype)
    engine.multiply(Product(.weightGradient, wide, chunk.u, into: sums.b, adds: true))
    let partial = try Tensor(chunk.u.shape, .float32, on: engine)
    engine.multiply(Product(.inputGradient, wide, scaledB, into: partial, chunks: chunks))
    let du = try tp.summed(partial, as: pair.dtype)
    engine.multiply(Product(.weightGradient, du, chunk.input, into: sums.a, adds: true))
    let dx = rowGradient.rowRange(chunk.range)
    engine.multiply(Product(.inputGradient, du, pair.a.tensor, into: dx))
    if let keys = chunk.keys { pair.drop(dx, keys.keys[...], into: dx) }
  }

  /// Hands the sums over all chunks to the halves.
  func finish() throws(Fault) {
    guard let sums else { return }
    try pair.a.addGradient(sums.a)
    try pair.b.addGradient(try pair.gradientOfB(sums.b))
  }
}
