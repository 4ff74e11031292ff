import CKernels
import Support

/// Rotation of the queries and keys of a fused row; values pass.
///
///     q' = q · cos + rot(q) · sin,  rot(x) = [−x₂, x₁];  the gradient is rotated back
///
/// - Source: Su et al. 2021.
public struct RotaryEmbedding: Operation {
  public static let name: StaticString = "rotaryEmbedding"
  let rows: Int
  let heads: FusedHeads
  let angles: RotaryAngles
  let dtype: DType

  public var savedBytes: Int { 0 }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let dy = try dy.converted(to: dtype)
    let dx = try Tensor(dy.shape, dtype, on: dy.engine)
    dy.engine.kernel {
      var s = kernelArguments
      ck_qkrope_backward($0, &s, dy.address, nil, dy.address, dx.address, nil, nil, 1)
    }
    return [dx]
  }

  var kernelArguments: ck_qkrope {
    var s = ck_qkrope()
    s.type = dtype.kernelType
    s.tokens = rows
    (s.groups, s.ratio, s.d) = (Int32(heads.groups), Int32(heads.ratio), Int32(heads.d))
    s.cos = UnsafePointer(angles.cos.pointer(as: Float.self))
    s.sin = UnsafePointer(angles.sin.pointer(as: Float.self))
    return s
  }
}

extension Tape {
  /// - Parameters:
  ///   - qkv: `[t, g · (q/g + 2) · d]`, in any state over tp but `partial`.
  ///   - angles: `[t, d/2]`.
  /// - Returns: the same shape and placement.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func rotaryEmbedding(
    _ qkv: Value, _ heads: FusedHeads, _ angles: RotaryAngles
  ) throws(Fault) -> Value {
    try qkv.require(.tp, [.same, .split(0), .split(1)], in: RotaryEmbedding.name)
    try require(
      qkv.shape == [angles.cos.rows, heads.rowSize], RotaryEmbedding.name, qkv,
      "[\(angles.cos.rows), \(heads.rowSize)]")
    let out = try Tensor(qkv.shape, qkv.dtype, on: qkv.tensor.engine)
    let operation = RotaryEmbedding(
      rows: qkv.tensor.rows, heads: heads, angles: angles, dtype: qkv.dtype)
    out.engine.kernel {
      var s = operation.kernelArguments
      ck_qkrope_forward($0, &s, qkv.tensor.address, out.address, nil)
    }
    return record(out, qkv.placement, from: [qkv], operation)
  }
}
