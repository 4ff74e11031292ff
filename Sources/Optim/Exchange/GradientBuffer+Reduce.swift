import Parallel
import Support
import Tensor

extension GradientBuffer {
  /// Sums a bucket over the ranks of the group, in tree order with distant partners first.
  ///
  /// With a distributed optimizer each rank gets the sum of its shard only; what it holds of the
  /// other shards stays its own summand. Sums are fp32, rounded once if gradients are bf16.
  /// - Communication: the bucket over the group.
  /// - Throws: `COMM-…`, `MEM-001`.
  func reduce(_ bucket: Int, by way: ExchangeWay) throws(Fault) {
    guard group.size > 1, !engine.isPlanning else { return }
    if exchangeType == .bfloat16 { return try reduceRounded(bucket, by: way) }
    if layout.isSharded {
      try reduceScatter(bucket, way)
    } else {
      try allReduce(layout.buckets[bucket], way)
    }
  }

  private func reduceScatter(_ bucket: Int, _ way: ExchangeWay) throws(Fault) {
    let size = group.size
    let shardCount = layout.buckets[bucket].count / size
    let piece = ExchangeScratch.pieceCount(shard: shardCount, ranks: size)
    var start = 0
    while start < shardCount {
      let n = min(piece, shardCount - start)
      let sum = try way.scratch.tensor(1, n, .float32)
      let own = layout.shard(of: bucket, rank: group.rank).lowerBound + start
      let send = try summands(bucket, start..<start + n, way)
      try way.group.reduceScatter(
        UnsafeBufferPointer(send.floats), into: sum.floats, order: .distantFirst)
      way.engine.convert(sum, into: flat.elements(own..<own + n))
      start += n
    }
  }

  /// Elements `range` of every rank's shard of `bucket`, one after another, as fp32.
  private func summands(
    _ bucket: Int, _ range: Range<Int>, _ way: ExchangeWay
  ) throws(Fault) -> Tensor {
    let whole = layout.buckets[bucket]
    if gradientType == .float32, range.count * group.size == whole.count {
      return flat.elements(whole)
    }
    let send = try way.scratch.tensor(0, range.count * group.size, .float32)
    for rank in 0..<group.size {
      let start = layout.shard(of: bucket, rank: rank).lowerBound + range.lowerBound
      way.engine.convert(
        flat.elements(start..<start + range.count),
        into: send.elements(rank * range.count..<(rank + 1) * range.count))
    }
    return send
  }

  private func allReduce(_ bucket: Range<Int>, _ way: ExchangeWay) throws(Fault) {
    if gradientType == .float32 {
      return try way.group.allReduce(flat.elements(bucket).floats, order: .distantFirst)
    }
    var start = bucket.lowerBound
    while start < bucket.upperBound {
      let range = start..<min(start + ExchangeScratch.elements, bucket.upperBound)
      let wide = try way.scratch.tensor(0, range.count, .float32)
      way.engine.convert(flat.elements(range), into: wide)
      try way.group.allReduce(wide.floats, order: .distantFirst)
      way.engine.convert(wide, into: flat.elements(range))
      start = range.upperBound
    }
  }

  /// Gives every rank the weights of a bucket that the others have updated.
  /// - Communication: the weights of the bucket over the group.
  /// - Throws: `COMM-…`, `MEM-001`.
  func gatherWeights(_ bucket: Int, by way: ExchangeWay) throws(Fault) {
    guard group.size > 1, layout.isSharded, !engine.isPlanning else { return }
    let shardCount = layout.buckets[bucket].count / group.size
    let piece = ExchangeScratch.pieceCount(shard: shardCount, ranks: group.size)
    var start = 0
    while start < shardCount {
      let range = start..<min(start + piece, shardCount)
      try gatherWeights(bucket, range, way)
      start = range.upperBound
    }
  }

  private func gatherWeights(
    _ bucket: Int, _ range: Range<Int>, _ way: ExchangeWay
  ) throws(Fault) {
    let send = try way.scratch.tensor(2, range.count, weightType)
    let receive = try way.scratch.tensor(3, range.count * group.size, weightType)
    copyWeights(of: group.rank, bucket, range) { weights, place in
      send.elements(place..<place + weights.count).bytes.copyMemory(
        from: UnsafeRawBufferPointer(weights.bytes))
    }
    try way.group.allGather(UnsafeRawBufferPointer(send.bytes), into: receive.bytes)
    for rank in 0..<group.size where rank != group.rank {
      copyWeights(of: rank, bucket, range) { weights, place in
        let start = rank * range.count + place
        weights.bytes.copyMemory(
          from: UnsafeRawBufferPointer(receive.elements(start..<start + weights.count).bytes))
      }
    }
  }

  /// Calls `body` with each run of weights in elements `range` of a rank's shard, and its place
  /// in `range`.
  private func copyWeights(
    of rank: Int, _ bucket: Int, _ range: Range<Int>, _ body: (Tensor, Int) -> Void
  ) {
    let first = layout.shard(of: bucket, rank: rank).lowerBound + range.lowerBound
    for piece in layout.pieces(in: first..<first + range.count) {
      // This is what others wait for: it must not wait itself.
      let tensor = parameters[piece.parameter].parameter.memory
      let weights = tensor.reshaped([tensor.count]).elements(piece.range)
      body(weights, piece.start - first)
    }
  }
}
