import CKernels
import Support

/// Gated activation over the parts of a fused row `[t, parts, 2, width]` (gate, then up).
///
///     y[t, parts · width] = silu(gate) · up · scale[t]
///     dup = dy · scale · silu(gate)    dgate = dy · scale · up · σ(gate)(1 + gate(1 − σ(gate)))
///     dscale[t] = Σ dy · silu(gate) · up
///
/// - Source: Shazeer 2020.
public struct SwiGLU: Operation {
  public static let name: StaticString = "swiGLU"
  let x: Tensor  // [t, 2·f/tp]
  let scale: Tensor?  // [t] fp32: routing weights
  let parts: Int

  public init(x: Tensor, scale: Tensor?, parts: Int) {
    self.x = x
    self.scale = scale
    self.parts = parts
  }

  public var savedBytes: Int { x.byteCount }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let engine = x.engine
    let dy = try dy.converted(to: x.dtype)
    let dx = try Tensor(x.shape, x.dtype, on: engine)
    let dscale = scale == nil ? nil : try Tensor([x.rows], .float32, on: engine)
    if let handle = engine.handle {
      ck_swiglu_backward(
        handle, x.dtype.kernelType, x.rows, Int32(parts), x.rowSize / parts / 2, x.address,
        scale?.pointer(as: Float.self), dy.address, dx.address, dscale?.pointer(as: Float.self))
    }
    return scale == nil ? [dx] : [dx, dscale]
  }
}

/// Makes the activation again from the product before it (`recompute_modules moe_act`).
public struct SwiGLURecipe: Recipe {
  let x: Tensor
  let scale: Tensor?
  let parts: Int
  public init(x: Tensor, scale: Tensor?, parts: Int) {
    self.x = x
    self.scale = scale
    self.parts = parts
  }
  public func rebuild() throws(Fault) -> Tensor {
    try swiGLUForward(x, scale: scale, parts: parts)
  }
}

public func swiGLUForward(_ x: Tensor, scale: Tensor?, parts: Int) throws(Fault) -> Tensor {
  let y = try Tensor([x.rows, x.rowSize / 2], x.dtype, on: x.engine)
  if let handle = x.engine.handle {
    ck_swiglu_forward(
      handle, x.dtype.kernelType, x.rows, Int32(parts), x.rowSize / parts / 2, x.address,
      scale?.pointer(as: Float.self), y.address)
  }
  return y
}

extension Tape {
  /// - Parameters:
  ///   - x: `[t, 2·f/tp]`, `split(1)` over tp.
  ///   - parts: runs of gate and up rows in the row.
  /// - Returns: `[t, f/tp]`, placed as `x`.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func swiGLU(_ x: Value, parts: Int) throws(Fault) -> Value {
    try x.require(.tp, [.split(1)], in: SwiGLU.name)
    try require(x.tensor.rowSize % (2 * parts) == 0, SwiGLU.name, x, "[t, 2·\(parts)·width]")
    let y = try swiGLUForward(x.tensor, scale: nil, parts: parts)
    return record(
      y, x.placement, from: [x], SwiGLU(x: x.tensor, scale: nil, parts: parts))
  }
}
