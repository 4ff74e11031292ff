import CKernels
import Support

/// Gaussian error linear unit, element by element.
///
///     tanh: y = x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))     exact: y = x · Φ(x)
///     dx = dy · y′(x)
///
/// - Source: Hendrycks & Gimpel 2016.
public struct GELU: Operation {
  public static let name: StaticString = "gelu"

  /// Which of the two published forms.
  public enum Form: Sendable {
    case tanh
    /// With the normal distribution Φ, by the error function.
    case exact
    var kernel: ck_gelu_form { self == .tanh ? CK_GELU_TANH : CK_GELU_ERF }
  }

  let x: Tensor
  let form: Form

  public var savedBytes: Int { x.byteCount }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let dy = try dy.converted(to: x.dtype)
    let dx = try Tensor(x.shape, x.dtype, on: x.engine)
    x.engine.kernel {
      ck_gelu_backward(
        $0, form.kernel, x.dtype.kernelType, x.count, x.address, dy.address, dx.address)
    }
    return [dx]
  }
}

extension Tape {
  /// - Parameter x: any shape, in any state over tp but `partial`.
  /// - Returns: as `x`.
  /// - Throws: `PLACE-201`.
  public func gelu(_ x: Value, _ form: GELU.Form) throws(Fault) -> Value {
    try x.require(.tp, [.same, .copied, .split(0), .split(1)], in: GELU.name)
    let y = try Tensor(x.shape, x.dtype, on: x.tensor.engine)
    y.engine.kernel {
      ck_gelu_forward(
        $0, form.kernel, x.dtype.kernelType, x.tensor.count, x.tensor.address, y.address)
    }
    return record(y, x.placement, from: [x], GELU(x: x.tensor, form: form))
  }
}
