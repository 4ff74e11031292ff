/// The fixed cut of every sum whose terms lie on different ranks in some layout
/// (docs/decisions/0002-canonical-order.md).
public enum CanonicalOrder {
  /// Parts a summed dim is cut into, at most.
  public static let chunkCount = 8

  /// Chunks of a dim made of `units` indivisible units: the largest power of two that divides it,
  /// at most 8.
  public static func chunks(_ units: Int) -> Int {
    guard units > 0 else { return 1 }
    return min(chunkCount, 1 << units.trailingZeroBitCount)
  }

  /// Chunks of that dim which one of `ranks` equal parts owns. A layout that does not divide the
  /// chunks sums its part as one chunk: right, but not the same bits.
  public static func localChunks(_ units: Int, ranks: Int) -> Int {
    let all = chunks(units)
    return all % ranks == 0 ? all / ranks : 1
  }

  /// Rows of one of the 8 runs a row of `tokens` is cut into.
  public static func rowsPerChunk(_ tokens: Int) -> Int {
    max(1, (tokens + chunkCount - 1) / chunkCount)
  }

  /// Adds `parts` vectors of `count` elements as a balanced tree over a power of two of places
  /// (missing parts are nothing) and leaves the sum in the first.
  public static func treeSum(_ vectors: UnsafeMutablePointer<Float>, parts: Int, count: Int) {
    var distance = 1
    while distance < parts {
      var i = 0
      while i + distance < parts {
        let a = vectors + i * count
        let b = vectors + (i + distance) * count
        for j in 0..<count { a[j] += b[j] }
        i += 2 * distance
      }
      distance *= 2
    }
  }
}
