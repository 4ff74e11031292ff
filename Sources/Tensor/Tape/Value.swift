/// A tensor on its way through a model: the numbers, how they lie over the mesh, and where on the
/// tape they were made.
public struct Value: Sendable {
  public let tensor: Tensor
  public let placement: Placement
  /// Place on the tape; nil for a value whose gradient nobody wants.
  public let node: Int?

  public init(_ tensor: Tensor, _ placement: Placement = .same, node: Int? = nil) {
    self.tensor = tensor
    self.placement = placement
    self.node = node
  }

  public var wantsGradient: Bool { node != nil }
  public var shape: [Int] { tensor.shape }
  public var dtype: DType { tensor.dtype }
}
