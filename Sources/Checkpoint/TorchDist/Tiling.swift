import Support

/// Tests that boxes cover a tensor exactly once.
enum Tiling {
  /// Comparisons of pairs before an irregular tiling is refused, so that no index can hang us.
  static let pairLimit = 50_000_000

  /// - Returns: nil, or what is wrong.
  static func problem(_ boxes: [Box], shape: [Int]) -> String? {
    guard let total = checkedProduct(shape) else { return "its shape \(shape) overflows" }
    var volume = 0
    for box in boxes {
      guard box.offsets.count == shape.count, box.sizes.count == shape.count else {
        return "a piece has another rank than the shape \(shape)"
      }
      for axis in 0..<shape.count {
        let (begin, size) = (box.offsets[axis], box.sizes[axis])
        guard begin >= 0, size >= 0, begin <= shape[axis], size <= shape[axis] - begin else {
          return "the piece at \(box.offsets) of \(box.sizes) leaves the shape \(shape)"
        }
      }
      volume += box.count
      guard volume <= total else { return "its pieces overlap" }
    }
    guard Set(boxes.map(\.offsets)).count == boxes.count else {
      return "two pieces begin at one place"
    }
    guard volume == total else { return "its pieces hold \(volume) of \(total) elements" }
    // Pieces of the right volume that do not overlap leave nothing out.
    let filled = boxes.filter { !$0.isEmpty }
    var pairs = pairLimit
    return overlap(filled[...], axis: 0, rank: shape.count, pairs: &pairs)
  }

  /// Splits along one axis after the other as long as the pieces form slabs, which all writers
  /// do; compares pairs only inside what is left.
  private static func overlap(
    _ boxes: ArraySlice<Box>, axis: Int, rank: Int, pairs: inout Int
  ) -> String? {
    if boxes.count <= 1 { return nil }
    if axis == rank { return "two pieces overlap" }
    let sorted = boxes.sorted {
      ($0.offsets[axis], $0.sizes[axis]) < ($1.offsets[axis], $1.sizes[axis])
    }
    var start = 0
    while start < sorted.count {
      var end = start
      var reach = sorted[start].offsets[axis] + sorted[start].sizes[axis]
      var slab = true
      // The longest run of pieces that touch each other along this axis.
      while end < sorted.count, sorted[end].offsets[axis] < reach {
        let (begin, size) = (sorted[end].offsets[axis], sorted[end].sizes[axis])
        if begin != sorted[start].offsets[axis] || size != sorted[start].sizes[axis] {
          slab = false
        }
        reach = max(reach, begin + size)
        end += 1
      }
      let problem =
        slab
        ? overlap(sorted[start..<end], axis: axis + 1, rank: rank, pairs: &pairs)
        : comparePairs(sorted[start..<end], axis: axis, pairs: &pairs)
      if let problem { return problem }
      start = end
    }
    return nil
  }

  /// Compares each piece with those that begin before it ends, along the sorted axis.
  private static func comparePairs(
    _ boxes: ArraySlice<Box>, axis: Int, pairs: inout Int
  ) -> String? {
    for i in boxes.indices {
      let end = boxes[i].offsets[axis] + boxes[i].sizes[axis]
      var j = i + 1
      while j < boxes.endIndex, boxes[j].offsets[axis] < end {
        pairs -= 1
        guard pairs >= 0 else { return "its pieces are too irregular to check" }
        if boxes[i].intersection(boxes[j]) != nil {
          return "the pieces at \(boxes[i].offsets) and \(boxes[j].offsets) overlap"
        }
        j += 1
      }
    }
    return nil
  }
}
