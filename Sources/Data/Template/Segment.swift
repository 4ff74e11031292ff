/// A stretch of the rendered conversation and its weight in the loss.
public struct Segment: Sendable, Equatable {
  public var text: String
  /// 0: not trained.
  public var weight: Float

  public init(_ text: String, weight: Float) {
    self.text = text
    self.weight = weight
  }

  /// Neighbours of equal weight as one: tokens may cross their border, and no other.
  static func joined(_ segments: [Segment]) -> [Segment] {
    var result: [Segment] = []
    for segment in segments where !segment.text.isEmpty {
      if let last = result.last, last.weight == segment.weight {
        result[result.count - 1].text += segment.text
      } else {
        result.append(segment)
      }
    }
    return result
  }
}

/// A stretch of the rendered conversation before it is weighted.
enum RenderedPart {
  /// Marks, system text, questions, tool results.
  case other(String)
  /// The reply of a round.
  case response(Int)
  /// The end mark of the last round.
  case suffix(String)
}
