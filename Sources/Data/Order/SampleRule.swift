import Support

/// Which rows `#COUNT` takes from a data set.
enum SampleRule {
  /// Indices of the rows taken: the whole set `wanted / rows` times in order, then the rest drawn
  /// without replacement (or the first rows, without shuffling).
  /// - Throws: `DATA-106` if there is nothing to take from.
  static func indices(
    rows: Int, wanted: Int, shuffle: Bool, using state: inout RandomState
  ) throws(Fault) -> [Int] {
    guard wanted > 0 else {
      throw Fault(
        .badSplit, "a data set gives \(wanted) rows", expected: "at least 1",
        fix: "raise the number after # or lower --split_dataset_ratio")
    }
    guard rows > 0 else {
      throw Fault(.noRows, "\(wanted) rows are asked of a data set that has none left")
    }
    var order: [Int] = []
    order.reserveCapacity(wanted)
    for _ in 0..<(wanted / rows) { order.append(contentsOf: 0..<rows) }
    let rest = wanted % rows
    // The stream of numbers is touched only when a rest exists; later draws depend on it.
    if rest > 0 && shuffle {
      order += state.permutation(rows)[..<rest]
    } else {
      order += 0..<rest
    }
    return order
  }
}
