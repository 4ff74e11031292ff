import CKernels
import Support

/// Root-mean-square normalisation of each row.
///
///     y[t, h] = x · r · w,   r[t] = 1 / √(mean(x²) + ε)
///     dx = r · (g − n · mean(g · n)),  g = dy · w,  n = x · r        dw = Σ_t dy · n
///
/// The sum over rows for `dw` is cut in runs of `rowsPerPart` rows and added as a tree, then over
/// `exchange` if the rows of a sample lie on several ranks.
/// - Source: Zhang & Sennrich 2019.
public struct RMSNorm: Operation {
  public static let name: StaticString = "rmsNorm"
  let x: Tensor  // [t, h]
  let rstd: Tensor  // [t] fp32
  let weight: Parameter  // [h]
  let rowsPerPart: Int
  let exchange: (any RowSumExchange)?

  public var savedBytes: Int { rstd.byteCount }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let engine = x.engine
    let n = x.rowSize
    let dy = try dy.converted(to: x.dtype)
    let dx = try Tensor(x.shape, x.dtype, on: engine)
    let parts = max(1, (x.rows + rowsPerPart - 1) / rowsPerPart)
    let dw = weight.isTrainable ? try Tensor([parts, n], .float32, on: engine) : nil
    engine.rmsNormBackward(
      x, weight.tensor, rstd, dy, dx: dx, dwParts: dw, rowsPerPart: rowsPerPart)
    if let dw { try weight.addTreeSum(of: dw, over: exchange) }
    return [dx]
  }
}

/// Makes the output of a norm again (`recompute_modules layernorm`).
public struct RMSNormRecipe: Recipe {
  let x: Tensor
  let weight: Parameter
  let epsilon: Float
  public init(x: Tensor, weight: Parameter, epsilon: Float) {
    self.x = x
    self.weight = weight
    self.epsilon = epsilon
  }
  public func rebuild() throws(Fault) -> Tensor {
    try rmsNormForward(x, weight, epsilon: epsilon).y
  }
}

/// Sums small vectors over the ranks that hold other rows of the same samples, in tree order.
/// The room of communicators provides it; this room knows nothing of ranks.
public protocol RowSumExchange: Sendable {
  func sum(_ vector: UnsafeMutableBufferPointer<Float>) throws(Fault)
}

extension Parameter {
  /// Adds `parts` ([p, n]) as a tree, over the ranks of `exchange` too, and puts the sum into the
  /// gradient slot. Overwrites `parts`.
  public func addTreeSum(of parts: Tensor, over exchange: (any RowSumExchange)?) throws(Fault) {
    let engine = parts.engine
    guard !engine.isPlanning else {
      hasGradient = true
      return
    }
    let n = parts.rowSize
    CanonicalOrder.treeSum(parts.pointer(as: Float.self), parts: parts.rows, count: n)
    let sum = UnsafeMutableBufferPointer(start: parts.pointer(as: Float.self), count: n)
    try exchange?.sum(sum)
    try addGradient(parts.rowRange(0..<1))
  }

  /// Adds an fp32 summand of the parameter's size to its gradient slot.
  package func addGradient(_ summand: Tensor) throws(Fault) {
    guard let slot = try gradientSlot() else { return }
    summand.addTo(slot)
  }
}

extension Tensor {
  /// Adds these fp32 values to a gradient slot, or puts them there as its first contribution.
  package func addTo(_ slot: (tensor: Tensor, adds: Bool)) {
    let total = reshaped(slot.tensor.shape)
    if slot.adds {
      engine.add(slot.tensor, total, into: slot.tensor)
    } else {
      engine.convert(total, into: slot.tensor)
    }
  }
}

func rmsNormForward(_ x: Tensor, _ weight: Parameter, epsilon: Float) throws(Fault) -> (
  y: Tensor, rstd: Tensor
) {
  let y = try Tensor(x.shape, x.dtype, on: x.engine)
  let rstd = try Tensor([x.rows], .float32, on: x.engine)
  x.engine.rmsNormForward(x, weight.tensor, epsilon, y: y, rstd: rstd)
  return (y, rstd)
}

extension Tape {
  /// - Parameters:
  ///   - x: `[t, h]`, in any state but `partial`.
  ///   - rowsPerPart: rows of one canonical run (`CanonicalOrder.rowsPerChunk` of the whole sample row).
  ///   - exchange: sums over the ranks that hold other rows, or nil.
  /// - Returns: `[t, h]`, placed as `x`.
  /// - Throws: `SHAPE-101` if the rows are not as long as the weight; `PLACE-201`.
  public func rmsNorm(
    _ x: Value, _ weight: Parameter, epsilon: Float, rowsPerPart: Int,
    exchange: (any RowSumExchange)? = nil
  ) throws(Fault) -> Value {
    try x.require(.tp, [.same, .copied, .split(0)], in: RMSNorm.name)
    try require(x.tensor.rowSize == weight.count, RMSNorm.name, x, "[t, \(weight.count)]")
    let (y, rstd) = try rmsNormForward(x.tensor, weight, epsilon: epsilon)
    return record(
      y, x.placement, from: [x], trains: weight.isTrainable,
      RMSNorm(
        x: x.tensor, rstd: rstd, weight: weight, rowsPerPart: rowsPerPart, exchange: exchange))
  }

  /// - Throws: `SHAPE-101` naming the operation, unless `condition` holds.
  func require(
    _ condition: Bool, _ operation: StaticString, _ value: Value, _ expected: String
  ) throws(Fault) {
    if condition { return }
    throw Fault(
      .badShape, "\(operation) does not take this shape", at: .operation("\(operation)"),
      expected: expected, found: "\(value.shape)")
  }
}

extension Engine {
  func rmsNormForward(_ x: Tensor, _ w: Tensor, _ epsilon: Float, y: Tensor, rstd: Tensor) {
    guard let handle else { return }
    ck_rmsnorm_forward(
      handle, x.dtype.kernelType, x.rows, x.rowSize, x.address, w.address, epsilon, y.address,
      rstd.pointer(as: Float.self))
  }

  func rmsNormBackward(
    _ x: Tensor, _ w: Tensor, _ rstd: Tensor, _ dy: Tensor, dx: Tensor, dwParts: Tensor?,
    rowsPerPart: Int
  ) {
    guard let handle else { return }
    if x.rows == 0 { dwParts?.clear() }
    ck_rmsnorm_backward(
      handle, x.dtype.kernelType, x.rows, x.rowSize, x.address, w.address,
      rstd.pointer(as: Float.self), dy.address, dx.address, dwParts?.pointer(as: Float.self),
      rowsPerPart)
  }
}
