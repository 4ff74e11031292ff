import Tensor

/// The parts of a model in the order of the forward pass (`BackwardWatch`): embedding and vision
/// tower, then layer by layer, then final norm and output layer.
public enum ForwardPart {
  static let embedding = 0
  static func layer(_ index: Int) -> Int { index + 1 }
  static func head(_ config: QwenConfig) -> Int { config.layerCount + 1 }
}

extension QwenModel {
  /// The first part of the forward pass that uses a weight: in the backward pass its gradient is
  /// complete when that part is. A tied embedding belongs to the embedding.
  public func forwardPart(of parameter: Parameter) -> Int {
    let name = parameter.name
    guard name.hasPrefix(config.textPrefix) else { return ForwardPart.embedding }
    let own = String(name.dropFirst(config.textPrefix.count))
    if let layer = LayerName(own) { return ForwardPart.layer(layer.index) }
    return own.hasPrefix("embedding.") ? ForwardPart.embedding : ForwardPart.head(config)
  }
}
