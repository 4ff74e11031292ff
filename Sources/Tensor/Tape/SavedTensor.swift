import Support

/// Makes a tensor again from what is kept anyway, for operations that would otherwise keep a copy.
public protocol Recipe: Sendable {
  func rebuild() throws(Fault) -> Tensor
}

/// What an operation keeps of an input: the tensor, or how to make it again
/// (`--recompute_modules layernorm moe_act`).
public enum SavedTensor: Sendable {
  case kept(Tensor)
  case rebuilt(any Recipe)

  /// - Parameter recipe: used instead of `tensor` when given.
  public init(_ tensor: Tensor, recipe: (any Recipe)?) {
    self = recipe.map { .rebuilt($0) } ?? .kept(tensor)
  }

  public func tensor() throws(Fault) -> Tensor {
    switch self {
    case .kept(let tensor): return tensor
    case .rebuilt(let recipe): return try recipe.rebuild()
    }
  }

  public var savedBytes: Int {
    if case .kept(let tensor) = self { return tensor.byteCount }
    return 0
  }
}
