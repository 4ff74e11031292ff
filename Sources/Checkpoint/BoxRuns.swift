import Support

/// The contiguous runs of a box that lies in two row-major boxes, in rising order of both.
struct BoxRuns {
  /// Byte offsets from the begin of each box, and the bytes of the run.
  struct Run {
    let source: Int
    let target: Int
    let count: Int
  }

  private let outer: [Int]  // sizes of the dimensions that are stepped through
  private let sourceSteps: [Int]
  private let targetSteps: [Int]
  private let first: (source: Int, target: Int)
  private let runBytes: Int
  let runCount: Int
  /// Where the first run begins in the target.
  var firstTarget: Int { first.target }

  /// - Parameters:
  ///   - box: the part, in the same coordinates as `source` and `target`, which contain it.
  init(box: Box, source: Box, target: Box, elementSize: Int) {
    let rank = box.sizes.count
    let sourceStrides = Self.strides(source.sizes, elementSize)
    let targetStrides = Self.strides(target.sizes, elementSize)
    // Trailing dimensions that the part fills in both boxes make one run with the one before.
    var split = rank
    var bytes = elementSize
    while split > 0 {
      split -= 1
      bytes *= box.sizes[split]
      if box.sizes[split] != source.sizes[split] || box.sizes[split] != target.sizes[split] {
        break
      }
    }
    outer = Array(box.sizes[..<split])
    sourceSteps = Array(sourceStrides[..<split])
    targetSteps = Array(targetStrides[..<split])
    runBytes = bytes
    runCount = box.isEmpty ? 0 : outer.reduce(1, *)
    var first = (source: 0, target: 0)
    for axis in 0..<rank {
      first.source += (box.offsets[axis] - source.offsets[axis]) * sourceStrides[axis]
      first.target += (box.offsets[axis] - target.offsets[axis]) * targetStrides[axis]
    }
    self.first = first
  }

  func forEach(_ body: (Run) throws(Fault) -> Void) throws(Fault) {
    var position = [Int](repeating: 0, count: outer.count)
    var (source, target) = first
    for _ in 0..<runCount {
      try body(Run(source: source, target: target, count: runBytes))
      var axis = outer.count - 1
      while axis >= 0 {
        position[axis] += 1
        source += sourceSteps[axis]
        target += targetSteps[axis]
        if position[axis] < outer[axis] { break }
        source -= sourceSteps[axis] * outer[axis]
        target -= targetSteps[axis] * outer[axis]
        position[axis] = 0
        axis -= 1
      }
    }
  }

  static func strides(_ sizes: [Int], _ elementSize: Int) -> [Int] {
    var strides = [Int](repeating: elementSize, count: sizes.count)
    for axis in stride(from: sizes.count - 2, through: 0, by: -1) {
      strides[axis] = strides[axis + 1] * sizes[axis + 1]
    }
    return strides
  }
}
