import Support

/// A box inside a tensor: begin and size per dimension.
public struct Box: Sendable, Hashable {
  public var offsets: [Int]
  public var sizes: [Int]

  public init(offsets: [Int], sizes: [Int]) {
    self.offsets = offsets
    self.sizes = sizes
  }

  /// The whole of a tensor.
  public init(shape: [Int]) {
    self.init(offsets: [Int](repeating: 0, count: shape.count), sizes: shape)
  }

  public init(_ ranges: [Range<Int>]) {
    self.init(offsets: ranges.map(\.lowerBound), sizes: ranges.map(\.count))
  }

  public var count: Int { sizes.reduce(1, *) }
  public var isEmpty: Bool { sizes.contains(0) }

  /// The common part of two boxes of one rank, or nil when they share no element.
  public func intersection(_ other: Box) -> Box? {
    var box = self
    for axis in 0..<sizes.count {
      let low = max(offsets[axis], other.offsets[axis])
      let high = min(offsets[axis] + sizes[axis], other.offsets[axis] + other.sizes[axis])
      guard low < high else { return nil }
      box.offsets[axis] = low
      box.sizes[axis] = high - low
    }
    return box
  }

  /// Whether `ranges` has one range per dimension, each inside `shape`.
  static func fits(_ ranges: [Range<Int>], in shape: [Int]) -> Bool {
    ranges.count == shape.count
      && zip(ranges, shape).allSatisfy { $0.lowerBound >= 0 && $0.upperBound <= $1 }
  }
}
