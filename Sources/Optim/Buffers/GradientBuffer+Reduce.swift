import Parallel
import Support
import Tensor

/// Scratch of the exchanges: the buffers are cut into pieces, so its size does not grow with the
/// model.
final class ExchangeScratch {
  /// Elements of a piece over all ranks of a group: 32 MiB of floats.
  static let elements = 1 << 23
  private let engine: Engine
  private var memory: [Int: Tensor] = [:]

  init(engine: Engine) { self.engine = engine }

  /// At least `count` elements of `dtype`, kept for the next call with the same `key`.
  func tensor(_ key: Int, _ count: Int, _ dtype: DType) throws(Fault) -> Tensor {
    let bytes = count * dtype.size
    if memory[key] == nil || memory[key]!.byteCount < bytes {
      memory[key] = nil
      memory[key] = try Tensor([bytes], .uint8, on: engine)
    }
    let storage = memory[key]!.storage
    return Tensor([count], dtype, storage: storage)
  }

  /// Elements per rank of a piece, in a group of `ranks`.
  static func pieceCount(shard: Int, ranks: Int) -> Int {
    max(1, min(shard, elements / ranks))
  }
}

extension GradientBuffer {
  /// Sums the buffer over the ranks of its group, in tree order with distant partners first.
  ///
  /// With a distributed optimizer each rank gets the sum of its shard only; what it holds of the
  /// other shards stays its own summand. Sums are fp32, rounded once if gradients are bf16.
  /// - Communication: the whole buffer over the group.
  /// - Throws: `COMM-…`, `MEM-001`.
  func reduce(_ scratch: ExchangeScratch) throws(Fault) {
    guard group.size > 1, !engine.isPlanning else { return }
    if exchangeType == .bfloat16 { return try reduceRounded(scratch) }
    if layout.isSharded {
      for bucket in layout.buckets.indices { try reduceScatter(bucket, scratch) }
    } else {
      try allReduce(scratch)
    }
  }

  private func reduceScatter(_ bucket: Int, _ scratch: ExchangeScratch) throws(Fault) {
    let size = group.size
    let shardCount = layout.buckets[bucket].count / size
    let piece = ExchangeScratch.pieceCount(shard: shardCount, ranks: size)
    var start = 0
    while start < shardCount {
      let n = min(piece, shardCount - start)
      let sum = try scratch.tensor(1, n, .float32)
      let own = layout.shard(of: bucket, rank: group.rank).lowerBound + start
      let send = try summands(bucket, start..<start + n, scratch)
      try group.reduceScatter(
        UnsafeBufferPointer(send.floats), into: sum.floats, order: .distantFirst)
      engine.convert(sum, into: flat.elements(own..<own + n))
      start += n
    }
  }

  /// Elements `range` of every rank's shard of `bucket`, one after another, as fp32.
  private func summands(
    _ bucket: Int, _ range: Range<Int>, _ scratch: ExchangeScratch
  ) throws(Fault) -> Tensor {
    let whole = layout.buckets[bucket]
    if gradientType == .float32, range.count * group.size == whole.count {
      return flat.elements(whole)
    }
    let send = try scratch.tensor(0, range.count * group.size, .float32)
    for rank in 0..<group.size {
      let start = layout.shard(of: bucket, rank: rank).lowerBound + range.lowerBound
      engine.convert(
        flat.elements(start..<start + range.count),
        into: send.elements(rank * range.count..<(rank + 1) * range.count))
    }
    return send
  }

  private func allReduce(_ scratch: ExchangeScratch) throws(Fault) {
    if gradientType == .float32 {
      return try group.allReduce(flat.floats, order: .distantFirst)
    }
    var start = 0
    while start < layout.count {
      let range = start..<min(start + ExchangeScratch.elements, layout.count)
      let wide = try scratch.tensor(0, range.count, .float32)
      engine.convert(flat.elements(range), into: wide)
      try group.allReduce(wide.floats, order: .distantFirst)
      engine.convert(wide, into: flat.elements(range))
      start = range.upperBound
    }
  }

  /// Gives every rank the weights that the others have updated.
  /// - Communication: the weights of the buffer over its group.
  /// - Throws: `COMM-…`, `MEM-001`.
  func gatherWeights(_ scratch: ExchangeScratch) throws(Fault) {
    guard group.size > 1, layout.isSharded, !engine.isPlanning else { return }
    for bucket in layout.buckets.indices {
      let shardCount = layout.buckets[bucket].count / group.size
      let piece = ExchangeScratch.pieceCount(shard: shardCount, ranks: group.size)
      var start = 0
      while start < shardCount {
        let range = start..<min(start + piece, shardCount)
        try gatherWeights(bucket, range, scratch)
        start = range.upperBound
      }
    }
  }

  private func gatherWeights(
    _ bucket: Int, _ range: Range<Int>, _ scratch: ExchangeScratch
  ) throws(Fault) {
    let send = try scratch.tensor(2, range.count, weightType)
    let receive = try scratch.tensor(3, range.count * group.size, weightType)
    copyWeights(of: group.rank, bucket, range) { weights, place in
      send.elements(place..<place + weights.count).bytes.copyMemory(
        from: UnsafeRawBufferPointer(weights.bytes))
    }
    try group.allGather(UnsafeRawBufferPointer(send.bytes), into: receive.bytes)
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
      let tensor = parameters[piece.parameter].parameter.tensor
      let weights = tensor.reshaped([tensor.count]).elements(piece.range)
      body(weights, piece.start - first)
    }
  }
}
