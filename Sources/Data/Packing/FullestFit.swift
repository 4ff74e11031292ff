/// Packs lengths into bins of one capacity: longest first, each into the fullest bin it still fits.
///
/// The same bins as binpacking 1.5 `to_constant_volume` gives.
enum FullestFit {
  /// - Parameters:
  ///   - lengths: tokens of each item; an item over `capacity` gets a bin of its own.
  /// - Returns: bins in the order they were opened, each with its items in the order they went in.
  static func bins(_ lengths: [Int], capacity: Int) -> [[Int]] {
    // Sorting by (length, place) is stable whatever the sort is.
    let order = lengths.indices.sorted { a, b in
      lengths[a] != lengths[b] ? lengths[a] > lengths[b] : a < b
    }
    var bins: [[Int]] = []
    var sums: [Int] = []
    // Open bins by sum; of equal sums the first opened stands last, so that it is taken first.
    var ranked: [Int] = []
    func place(sum: Int, bin: Int) -> Int {
      var low = 0
      var high = ranked.count
      while low < high {
        let middle = (low + high) / 2
        let other = ranked[middle]
        let before = sums[other] != sum ? sums[other] < sum : other > bin
        if before { low = middle + 1 } else { high = middle }
      }
      return low
    }
    for item in order {
      let room = capacity - lengths[item]
      // Everything before this place has a sum of at most `room`.
      let fitting = place(sum: room + 1, bin: Int.max)
      let bin: Int
      if fitting > 0 {
        bin = ranked.remove(at: fitting - 1)
      } else {
        bin = bins.count
        bins.append([])
        sums.append(0)
      }
      bins[bin].append(item)
      sums[bin] += lengths[item]
      ranked.insert(bin, at: place(sum: sums[bin], bin: bin))
    }
    return bins
  }
}
