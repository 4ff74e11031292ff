/// Joins the bytes of one piece: again and again the adjacent pair of lowest rank, the leftmost
/// on ties, until no pair has a rank (Sennrich et al., arXiv 1508.07909, as GPT-2 applies it).
///
/// Holds the scratch memory, so that a merger that is kept allocates nothing per piece.
struct PieceMerger {
  private let byteIDs: [Int32]
  private let merges: MergeTable
  private var ids: [Int32] = []
  /// rank << 32 | result of the pair that begins at each place.
  private var pairs: [UInt64] = []
  private var heap = MergeHeap()
  private var nextPlace: [Int32] = []
  private var previousPlace: [Int32] = []

  /// Above this many bytes the heap is faster than looking at every pair for each merge.
  private static let longPiece = 160

  init(byteIDs: [Int32], merges: MergeTable) {
    self.byteIDs = byteIDs
    self.merges = merges
  }

  /// Appends the ids of a piece. O(n²) in the bytes of a short piece, O(n log n) of a long one.
  @inline(__always)
  mutating func merge(_ piece: UnsafeBufferPointer<UInt8>, into out: inout [Int32]) {
    if piece.count > Self.longPiece {
      mergeLong(piece, into: &out)
    } else {
      mergeShort(piece, into: &out)
    }
  }

  private mutating func start(_ piece: UnsafeBufferPointer<UInt8>) {
    ids.removeAll(keepingCapacity: true)
    pairs.removeAll(keepingCapacity: true)
    for byte in piece { ids.append(byteIDs[Int(byte)]) }
    for i in 1..<max(ids.count, 1) { pairs.append(merges.find(ids[i - 1], ids[i])) }
    pairs.append(MergeTable.none)
  }

  mutating func mergeShort(_ piece: UnsafeBufferPointer<UInt8>, into out: inout [Int32]) {
    start(piece)
    var count = ids.count
    let merges = self.merges
    ids.withUnsafeMutableBufferPointer { ids in
      pairs.withUnsafeMutableBufferPointer { pairs in
        while count > 1 {
          var best = MergeTable.none
          var place = 0
          for i in 0..<(count - 1) where pairs[i] >> 32 < best >> 32 {
            best = pairs[i]
            place = i
          }
          if best == MergeTable.none { break }
          ids[place] = Int32(truncatingIfNeeded: best)
          for i in (place + 1)..<max(count - 1, place + 1) {
            ids[i] = ids[i + 1]
            pairs[i] = pairs[i + 1]
          }
          count -= 1
          pairs[count - 1] = MergeTable.none
          if place > 0 { pairs[place - 1] = merges.find(ids[place - 1], ids[place]) }
          if place + 1 < count { pairs[place] = merges.find(ids[place], ids[place + 1]) }
        }
      }
    }
    out.append(contentsOf: ids[..<count])
  }

  mutating func mergeLong(_ piece: UnsafeBufferPointer<UInt8>, into out: inout [Int32]) {
    start(piece)
    let count = Int32(ids.count)
    nextPlace = (0..<count).map { $0 + 1 }
    previousPlace = (0..<count).map { $0 - 1 }
    heap.removeAll()
    for i in 0..<(ids.count - 1) where pairs[i] != MergeTable.none {
      heap.push(rank: pairs[i] >> 32, place: i)
    }
    while let (rank, place) = heap.pop() {
      // An entry whose pair has changed since it was pushed is stale.
      guard pairs[place] != MergeTable.none, pairs[place] >> 32 == rank else { continue }
      let gone = Int(nextPlace[place])
      ids[place] = Int32(truncatingIfNeeded: pairs[place])
      let after = nextPlace[gone]
      nextPlace[place] = after
      pairs[gone] = MergeTable.none
      if after < count { previousPlace[Int(after)] = Int32(place) }
      let before = previousPlace[place]
      if before >= 0 { renew(Int(before), place) }
      if after < count { renew(place, Int(after)) } else { pairs[place] = MergeTable.none }
    }
    var place: Int32 = 0
    while place < count {
      out.append(ids[Int(place)])
      place = nextPlace[Int(place)]
    }
  }

  private mutating func renew(_ place: Int, _ next: Int) {
    pairs[place] = merges.find(ids[place], ids[next])
    if pairs[place] != MergeTable.none { heap.push(rank: pairs[place] >> 32, place: place) }
  }
}

/// A binary heap of (rank, place), the smallest first.
struct MergeHeap {
  private var entries: [UInt64] = []

  mutating func removeAll() { entries.removeAll(keepingCapacity: true) }

  mutating func push(rank: UInt64, place: Int) {
    entries.append(rank << 32 | UInt64(place))
    var child = entries.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      if entries[parent] <= entries[child] { break }
      entries.swapAt(parent, child)
      child = parent
    }
  }

  mutating func pop() -> (rank: UInt64, place: Int)? {
    guard let top = entries.first else { return nil }
    let last = entries.removeLast()
    if !entries.isEmpty {
      entries[0] = last
      var parent = 0
      while true {
        var child = parent * 2 + 1
        if child >= entries.count { break }
        if child + 1 < entries.count, entries[child + 1] < entries[child] { child += 1 }
        if entries[parent] <= entries[child] { break }
        entries.swapAt(parent, child)
        parent = child
      }
    }
    return (top >> 32, Int(UInt32(truncatingIfNeeded: top)))
  }
}
