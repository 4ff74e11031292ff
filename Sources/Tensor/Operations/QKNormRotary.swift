import CKernels
import Support

/// Angles of the rotary embedding for the tokens of one row: `[t, d/2]` fp32 each.
/// - Source: Su et al. 2021; halves, not pairs: `rot(x) = [−x₂, x₁]`.
public struct RotaryAngles: Sendable {
  public let cos: Tensor
  public let sin: Tensor
  public init(cos: Tensor, sin: Tensor) {
    self.cos = cos
    self.sin = sin
  }
}

/// Heads of a fused row `[t, g, q/g + 2, d]`: per key/value group its query heads, key, value.
public struct FusedHeads: Sendable, Equatable {
  /// Key/value groups on this rank.
  public let groups: Int
  /// Query heads per group.
  public let ratio: Int
  /// Head size.
  public let d: Int
  public init(groups: Int, ratio: Int, d: Int) {
    self.groups = groups
    self.ratio = ratio
    self.d = d
  }
  public var rowSize: Int { groups * (ratio + 2) * d }
  public var outputSize: Int { groups * ratio * d }
}

/// Per-head RMSNorm of queries and keys, then the rotation; values pass.
///
///     q' = rope(norm(q) · wq),  k' = rope(norm(k) · wk)
///
/// The gradients of the two norm weights are summed over all heads: this rank's groups in canonical
/// parts, then over `exchange` (the tensor-parallel ranks hold the other heads).
/// - Source: model.md sections 2 and 3 give the reference's order: norm before rotation.
public struct QKNormRotary: Operation {
  public static let name: StaticString = "qkNormRotary"
  let qkv: Tensor  // [t, g/tp · (q/g + 2) · d]
  let rstd: Tensor  // [t, g/tp · (q/g + 1)] fp32
  let heads: FusedHeads
  let angles: RotaryAngles
  let queryNorm: Parameter  // [d]
  let keyNorm: Parameter  // [d]
  let epsilon: Float
  let groupsPerPart: Int
  let exchange: (any RowSumExchange)?

  public var savedBytes: Int { qkv.byteCount + rstd.byteCount }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let engine = qkv.engine
    let dy = try dy.converted(to: qkv.dtype)
    let dqkv = try Tensor(qkv.shape, qkv.dtype, on: engine)
    let parts = heads.groups / groupsPerPart
    let dwq = try Tensor([parts, heads.d], .float32, on: engine)
    let dwk = try Tensor([parts, heads.d], .float32, on: engine)
    if let handle = engine.handle {
      var s = kernelArguments
      ck_qkrope_backward(
        handle, &s, qkv.address, rstd.pointer(as: Float.self), dy.address, dqkv.address,
        dwq.pointer(as: Float.self), dwk.pointer(as: Float.self), Int32(groupsPerPart))
    }
    if queryNorm.isTrainable { try queryNorm.addTreeSum(of: dwq, over: exchange) }
    if keyNorm.isTrainable { try keyNorm.addTreeSum(of: dwk, over: exchange) }
    return [dqkv]
  }

  var kernelArguments: ck_qkrope {
    var s = ck_qkrope()
    s.type = qkv.dtype.kernelType
    s.tokens = qkv.rows
    (s.groups, s.ratio, s.d) = (Int32(heads.groups), Int32(heads.ratio), Int32(heads.d))
    s.eps = epsilon
    (s.wq, s.wk) = (UnsafeRawPointer(queryNorm.tensor.address), .init(keyNorm.tensor.address))
    s.cos = UnsafePointer(angles.cos.pointer(as: Float.self))
    s.sin = UnsafePointer(angles.sin.pointer(as: Float.self))
    return s
  }
}

/// The two norms of queries and keys with what their gradients need.
public struct QKNorms: Sendable {
  public let query: Parameter
  public let key: Parameter
  public let epsilon: Float
  /// Groups of one canonical part.
  public let groupsPerPart: Int
  public let exchange: (any RowSumExchange)?
  public init(
    query: Parameter, key: Parameter, epsilon: Float, groupsPerPart: Int,
    exchange: (any RowSumExchange)?
  ) {
    self.query = query
    self.key = key
    self.epsilon = epsilon
    self.groupsPerPart = groupsPerPart
    self.exchange = exchange
  }
}

extension Tape {
  /// - Parameter qkv: `[t, g/tp · (q/g + 2) · d]`, `split(1)` over tp.
  /// - Returns: the same shape and placement.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func qkNormRotary(
    _ qkv: Value, _ heads: FusedHeads, _ norms: QKNorms, _ angles: RotaryAngles
  ) throws(Fault) -> Value {
    try qkv.require(.tp, [.split(1)], in: QKNormRotary.name)
    try require(
      qkv.tensor.rowSize == heads.rowSize, QKNormRotary.name, qkv, "[t, \(heads.rowSize)]")
    let engine = qkv.tensor.engine
    let out = try Tensor(qkv.shape, qkv.dtype, on: engine)
    let rstd = try Tensor(
      [qkv.tensor.rows, heads.groups * (heads.ratio + 1)], .float32, on: engine)
    let operation = QKNormRotary(
      qkv: qkv.tensor, rstd: rstd, heads: heads, angles: angles, queryNorm: norms.query,
      keyNorm: norms.key, epsilon: norms.epsilon, groupsPerPart: norms.groupsPerPart,
      exchange: norms.exchange)
    if let handle = engine.handle {
      var s = operation.kernelArguments
      ck_qkrope_forward(
        handle, &s, qkv.tensor.address, out.address, rstd.pointer(as: Float.self))
    }
    let trains = norms.query.isTrainable || norms.key.isTrainable
    return record(out, qkv.placement, from: [qkv], trains: trains, operation)
  }
}
