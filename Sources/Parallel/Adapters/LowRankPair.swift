import Support
import Tensor

// i inputs   o outputs   r rank   R sum of the ranks of all blocks   x/tp the local part of x

/// What an adapter adds to one weight: a product of two thin matrices, never formed.
///
///     y[o] = w · x + s · B · (A · drop(x))
///
/// One block adapts all outputs with one A (Megatron's fused matrices). Several blocks adapt runs
/// of the outputs, each with an A of its own (query, key and value, or gate and up, of published
/// models): their As stand under each other in `a`, and row j of `b` belongs to the block that
/// has output j. Outputs of no block are not adapted.
/// - Source: Hu et al. 2021 (LoRA); Kalajdzievski 2023 for the scale by √r.
public struct LowRankPair: Sendable {
  /// Outputs that share an A.
  public struct Block: Sendable, Equatable {
    /// Rows of `b` on this rank.
    public let rows: [Range<Int>]
    /// Row of `a` where this block's A begins.
    public let first: Int
    public let rank: Int
    public let scale: Float
    public init(rows: [Range<Int>], first: Int, rank: Int, scale: Float) {
      self.rows = rows
      self.first = first
      self.rank = rank
      self.scale = scale
    }
  }

  public let a: Parameter  // [R, i], of a table [R, rows of the table], of a convolution [R, i…]
  public let b: Parameter  // [o, largest r], of a convolution with dims of 1 after them
  public let blocks: [Block]
  /// Probability with which an element of the input is dropped in training.
  public let dropout: Float
  /// Tells the random numbers of this adapter from those of others.
  let key: UInt64

  public init(a: Parameter, b: Parameter, blocks: [Block], dropout: Float = 0) {
    self.a = a
    self.b = b
    self.blocks = blocks
    self.dropout = dropout
    key = CounterRandom(seed: 0, purpose: a.name).bits(0)
  }

  public var isTrainable: Bool { a.isTrainable || b.isTrainable }
  var dtype: DType { a.dtype }
  /// Sum of the ranks.
  var width: Int { a.shape[0] }

  /// `[o, R]`: s·B in the columns of its block, zero elsewhere.
  func scaledB() throws(Fault) -> Tensor {
    let engine = b.tensor.engine
    let wide = try Tensor.zeros([b.shape[0], width], .float32, on: engine)
    guard !engine.isPlanning else { return try wide.converted(to: dtype) }
    let source = try b.tensor.converted(to: .float32)
    copy(from: source.pointer(as: Float.self), to: wide.pointer(as: Float.self), widens: true)
    return try wide.converted(to: dtype)
  }

  /// The gradient of `b` from that of s·B, `[o, R]` fp32.
  func gradientOfB(_ gradient: Tensor) throws(Fault) -> Tensor {
    let sum = try Tensor.zeros(b.shape, .float32, on: gradient.engine)
    guard !gradient.engine.isPlanning else { return sum }
    copy(from: gradient.pointer(as: Float.self), to: sum.pointer(as: Float.self), widens: false)
    return sum
  }

  /// Scaled runs of each block between `[o, r]` and `[o, R]`.
  private func copy(
    from source: UnsafeMutablePointer<Float>, to target: UnsafeMutablePointer<Float>, widens: Bool
  ) {
    let narrow = b.shape[1]
    for block in blocks {
      for rows in block.rows {
        for row in rows {
          let wide = row * width + block.first
          let from = source + (widens ? row * narrow : wide)
          let to = target + (widens ? wide : row * narrow)
          for j in 0..<block.rank { to[j] = from[j] * block.scale }
        }
      }
    }
  }
}

/// Where the rows of an adapter's input stand in the global batch: what its dropout is drawn from.
struct RowKeys: Sendable {
  let keys: [UInt64]

  /// Keys of rows of one micro-batch.
  init(_ rows: Range<Int>, of microBatch: UInt64) {
    keys = rows.map { microBatch &+ UInt64($0) &* 0x9E37_79B9_7F4A_7C15 }
  }

  init(keys: [UInt64]) { self.keys = keys }
}

extension LowRankPair {
  /// The input as A takes it: in the adapter's type, dropped out where `keys` are given.
  func input(_ x: Tensor, _ keys: RowKeys?) throws(Fault) -> Tensor {
    let converted = try x.converted(to: dtype)
    guard let keys, dropout > 0 else { return converted }
    let out = try Tensor(converted.shape, dtype, on: x.engine)
    drop(converted, keys.keys[...], into: out)
    return out
  }

  /// The mask of the input on something of its shape.
  func drop(_ x: Tensor, _ keys: ArraySlice<UInt64>, into out: Tensor) {
    keys.withUnsafeBufferPointer {
      x.engine.dropout(
        x, probability: dropout, key: key, rowKeys: $0, firstColumn: firstColumn, into: out)
    }
  }

  /// Place of this rank's first input in the whole width.
  private var firstColumn: Int { a.slices.dim == 1 ? a.slices.runs.first?.global ?? 0 : 0 }

  /// `du · A` in `dtype`, through the mask of the input.
  func inputGradient(_ du: Tensor, as dtype: DType, _ keys: RowKeys?) throws(Fault) -> Tensor {
    let dx = try Tensor([du.rows, a.tensor.rowSize], dtype, on: du.engine)
    du.engine.multiply(Product(.inputGradient, du, a.tensor, into: dx))
    if let keys, dropout > 0 { drop(dx, keys.keys[...], into: dx) }
    return dx
  }
}
