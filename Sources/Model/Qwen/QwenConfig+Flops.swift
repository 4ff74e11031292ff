extension QwenConfig {
  /// Parameters that take part in the product of one token, output layer included.
  public var activeParameters: Int {
    let attention = hiddenSize * headSize * 2 * (headCount + groupCount)
    var sum = 0
    for layer in 0..<layerCount {
      sum += attention
      if isSparse(layer: layer), let experts {
        sum += experts.topK * 3 * hiddenSize * experts.intermediateSize + experts.count * hiddenSize
      } else {
        sum += 3 * hiddenSize * intermediateSize
      }
    }
    return sum + vocabularySize * hiddenSize
  }

  /// Floating-point operations of a training step (three times the forward pass), a multiplication
  /// and an addition counted as two; attention is causal inside documents.
  /// - Parameter trained: part of the tokens that have a label: only those need the output layer.
  public func trainingFlops(tokens: Int, documents: [Int], trained: Double = 1) -> Double {
    let squares = documents.reduce(0.0) { $0 + Double($1) * Double($1) }
    let forward =
      2 * Double(tokens) * Double(activeParameters)
      - 2 * Double(tokens) * (1 - trained) * Double(vocabularySize * hiddenSize)
      + 2 * squares * Double(headCount * headSize * layerCount)
    return 3 * forward
  }
}
