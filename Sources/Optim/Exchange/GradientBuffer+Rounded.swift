import Parallel
import Support
import Tensor

extension GradientBuffer {
  /// Sums a bucket over the ranks of the group with summands rounded to bf16 on the way: half the
  /// bytes of `reduce`, at the cost of equal bits in every layout (`--reduce_dtype bf16`).
  ///
  /// Every summand is rounded once and added in fp32 in the tree order of `reduce`. Without a
  /// distributed optimizer the sum is rounded once more, for the ranks it is handed to.
  /// - Communication: the bucket over the group, twice without a distributed optimizer.
  /// - Throws: `COMM-…`, `MEM-001`.
  func reduceRounded(_ bucket: Int, by way: ExchangeWay) throws(Fault) {
    let whole = layout.buckets[bucket]
    if layout.isSharded {
      let shards = (0..<group.size).map { layout.shard(of: bucket, rank: $0) }
      try sumPieces(shards, way) { _, _ throws(Fault) in }
    } else {
      let slice = (whole.count + group.size - 1) / group.size
      let slices = (0..<group.size).map { rank in
        let start = min(whole.lowerBound + rank * slice, whole.upperBound)
        return start..<min(start + slice, whole.upperBound)
      }
      try sumPieces(slices, way) { (sum, parts) throws(Fault) in
        try self.handOut(sum, parts, way)
      }
    }
  }

  /// Sums part r of all ranks on rank r, piece by piece.
  /// - Parameter done: takes the sum of this rank's piece and the pieces of all ranks.
  private func sumPieces(
    _ parts: [Range<Int>], _ way: ExchangeWay,
    _ done: (Tensor, [Range<Int>]) throws(Fault) -> Void
  ) throws(Fault) {
    let longest = parts.map(\.count).max() ?? 0
    let step = ExchangeScratch.pieceCount(shard: longest, ranks: group.size)
    var start = 0
    while start < longest {
      let pieces = parts.map { part in
        let first = min(part.lowerBound + start, part.upperBound)
        return first..<min(first + step, part.upperBound)
      }
      let own = flat.elements(pieces[group.rank])
      let sum = try sum(pieces, way)
      way.engine.convert(sum, into: own)
      try done(sum, pieces)
      start += step
    }
  }

  /// The fp32 sum over ranks of this rank's piece, from summands in bf16.
  private func sum(_ pieces: [Range<Int>], _ way: ExchangeWay) throws(Fault) -> Tensor {
    let scratch = way.scratch
    let n = pieces[group.rank].count
    let send = try scratch.tensor(0, pieces.reduce(0) { $0 + $1.count }, .bfloat16)
    var place = 0
    for piece in pieces {
      way.engine.convert(flat.elements(piece), into: send.elements(place..<place + piece.count))
      place += piece.count
    }
    let receive = try scratch.tensor(2, n * group.size, .bfloat16)
    try way.group.allToAll(
      UnsafeRawBufferPointer(send.bytes), sendCounts: pieces.map { $0.count * 2 },
      into: receive.bytes, receiveCounts: [Int](repeating: n * 2, count: group.size))
    let wide = try scratch.tensor(3, n * group.size, .float32)
    way.engine.convert(receive, into: wide)
    let sum = try scratch.tensor(1, n, .float32)
    guard n > 0 else { return sum }
    let blocks = (0..<group.size).map { UnsafePointer(wide.pointer(as: Float.self) + $0 * n) }
    TreeOrder.distantFirst.sum(blocks, into: sum.pointer(as: Float.self), count: n)
    return sum
  }

  /// Gives every rank the sums of all pieces, rounded to bf16 so that all hold the same bits.
  private func handOut(
    _ sum: Tensor, _ pieces: [Range<Int>], _ way: ExchangeWay
  ) throws(Fault) {
    let scratch = way.scratch
    let own = try scratch.tensor(0, sum.count, .bfloat16)
    way.engine.convert(sum, into: own)
    let all = try scratch.tensor(2, pieces.reduce(0) { $0 + $1.count }, .bfloat16)
    try way.group.allGather(
      UnsafeRawBufferPointer(own.bytes), into: all.bytes, counts: pieces.map { $0.count * 2 })
    var place = 0
    for piece in pieces {
      way.engine.convert(all.elements(place..<place + piece.count), into: flat.elements(piece))
      place += piece.count
    }
  }
}
