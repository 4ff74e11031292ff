import CKernels
import Support

/// Where each sample of a row begins: all that packed, padded and single rows need.
public struct SequenceLayout: Sendable {
  /// Starts of the documents and the number of tokens at the end: `[documents + 1]` int32.
  public let starts: Tensor
  public let documentCount: Int
  /// All tokens of the row, padding included.
  public let tokens: Int
  /// Tokens that are not padding added for the layout; those never reach a router.
  public let realTokens: Int
  /// The samples of a padded batch, each one sequence; nil for packed rows.
  public let paddedSequences: [Range<Int>]?

  public init(
    starts: [Int32], realTokens: Int, paddedSequences: [Range<Int>]? = nil, on engine: Engine
  ) throws(Fault) {
    self.starts = try Tensor(starts, on: engine)
    documentCount = starts.count - 1
    tokens = Int(starts.last ?? 0)
    self.realTokens = realTokens
    self.paddedSequences = paddedSequences
  }
}

/// Grouped-query attention inside each document of a row.
///
///     o[t, n·d] = softmax(q · kᵀ / √d) · v,   query head i uses group i div (n/g)
///
/// Cost by the sum of squared document lengths; no mask and no score matrix exists. Kept: the fused
/// row, the output, the log of each softmax sum.
/// - Source: Dao 2023 (tiling and recomputed scores); Ainslie et al. 2023 (groups).
public struct Attention: Operation {
  public static let name: StaticString = "attention"
  let qkv: Tensor  // [t, g/tp · (q/g + 2) · d], rotated
  let o: Tensor  // [t, n/tp · d]
  let lse: Tensor  // [n/tp, t] fp32
  let heads: FusedHeads
  let layout: SequenceLayout
  let isCausal: Bool

  public var savedBytes: Int { qkv.byteCount + o.byteCount + lse.byteCount }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let dy = try dy.converted(to: qkv.dtype)
    let dqkv = try Tensor(qkv.shape, qkv.dtype, on: qkv.engine)
    if let handle = qkv.engine.handle {
      var g = ck_attention_grad_args()
      g.f = arguments
      (g.d_o, g.dos) = (UnsafeRawPointer(dy.address), outputHeads)
      (g.dq, g.dqs) = (dqkv.address, fusedHeads)
      (g.dk, g.dks) = (dqkv.address + keyOffset, fusedHeads)
      (g.dv, g.dvs) = (dqkv.address + valueOffset, fusedHeads)
      ck_attention_backward(handle, &g)
    }
    return [dqkv]
  }

  private var keyOffset: Int { heads.ratio * heads.d * qkv.dtype.size }
  private var valueOffset: Int { (heads.ratio + 1) * heads.d * qkv.dtype.size }
  private var fusedHeads: ck_heads {
    ck_heads(token: heads.rowSize, group: (heads.ratio + 2) * heads.d)
  }
  private var outputHeads: ck_heads {
    ck_heads(token: heads.outputSize, group: heads.ratio * heads.d)
  }

  var arguments: ck_attention_args {
    var a = ck_attention_args()
    a.type = qkv.dtype.kernelType
    a.tokens = qkv.rows
    (a.groups, a.ratio, a.d) = (Int32(heads.groups), Int32(heads.ratio), Int32(heads.d))
    a.scale = 1 / Float(heads.d).squareRoot()
    a.causal = isCausal ? 1 : 0
    a.cu = UnsafePointer(layout.starts.pointer(as: Int32.self))
    a.documents = layout.documentCount
    (a.q, a.qs) = (UnsafeRawPointer(qkv.address), fusedHeads)
    (a.k, a.ks) = (UnsafeRawPointer(qkv.address + keyOffset), fusedHeads)
    (a.v, a.vs) = (UnsafeRawPointer(qkv.address + valueOffset), fusedHeads)
    (a.o, a.os) = (o.address, outputHeads)
    a.lse = lse.pointer(as: Float.self)
    return a
  }
}

extension Tape {
  /// - Parameters:
  ///   - qkv: `[t, g/tp · (q/g + 2) · d]` after rotation, `split(1)` over tp; or all heads, `same`, or
  ///     `split(0)` where every rank has whole documents.
  ///   - causal: false lets every token see its whole document.
  /// - Returns: `[t, n/tp · d]`, placed as `qkv`.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func attention(
    _ qkv: Value, _ heads: FusedHeads, _ layout: SequenceLayout, causal: Bool = true
  ) throws(Fault) -> Value {
    try qkv.require(.tp, [.same, .split(0), .split(1)], in: Attention.name)
    try require(
      qkv.shape == [layout.tokens, heads.rowSize], Attention.name, qkv,
      "[\(layout.tokens), \(heads.rowSize)]")
    let engine = qkv.tensor.engine
    let o = try Tensor([layout.tokens, heads.outputSize], qkv.dtype, on: engine)
    let lse = try Tensor([heads.groups * heads.ratio, layout.tokens], .float32, on: engine)
    let operation = Attention(
      qkv: qkv.tensor, o: o, lse: lse, heads: heads, layout: layout, isCausal: causal)
    if let handle = engine.handle {
      var a = operation.arguments
      ck_attention_forward(handle, &a)
    }
    return record(o, qkv.placement, from: [qkv], operation)
  }
}
