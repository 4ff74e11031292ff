import Support

/// One recorded step of the forward pass with its derivative.
///
/// The stored properties of a conforming struct are exactly what is kept until the backward pass.
/// An operation that communicates stores its communicator, so the tape knows nothing of ranks.
public protocol Operation: Sendable {
  static var name: StaticString { get }
  /// Bytes that live only because this operation keeps them.
  var savedBytes: Int { get }
  /// - Parameters:
  ///   - dy: gradient of the output; same shape and placement as the output, fp32 or the
  ///     activation dtype.
  ///   - wanting: which inputs need a gradient; the others must be nil and cost nothing.
  /// - Returns: one entry per recorded input. Gradients of weights are added to the parameter's
  ///   slot instead.
  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?]
}
