/// Where the parameters of one flat gradient buffer lie, and which rank owns which part.
///
/// Parameters stand in reverse registration order (gradients become ready in that order). With a
/// distributed optimizer each start is aligned to 64 elements and the end of a bucket padded so
/// that it cuts into equal, aligned shards; without one nothing is padded.
///
///     bucket  |p3      |p2   |p1          .|p0 ....|
///     shard   |rank 0  .  rank 1  .  rank 2  .  rank 3|
/// - Source: ZeRO (Rajbhandari et al. 2020), stage 1; Megatron-LM `param_and_grad_buffer.py`.
public struct BufferLayout: Sendable, Equatable {
  /// A parameter's place in the flat buffer.
  public struct Slot: Sendable, Equatable {
    public let range: Range<Int>
    public let bucket: Int
  }

  /// A run of a parameter inside a range of the buffer.
  public struct Piece: Sendable, Equatable {
    /// Index of the parameter, in registration order.
    public let parameter: Int
    /// Elements of the parameter.
    public let range: Range<Int>
    /// Place of the first of them in the buffer.
    public let start: Int
  }

  /// Slots by registration order.
  public let slots: [Slot]
  public let buckets: [Range<Int>]
  /// Parameters of each bucket, by registration order.
  public let members: [Range<Int>]
  public let groupSize: Int
  public let isSharded: Bool
  public var count: Int { buckets.last?.upperBound ?? 0 }

  static let startAlignment = 64
  static let endAlignment = 128

  /// - Parameters:
  ///   - counts: elements of each parameter, in registration order.
  ///   - bucketSize: a bucket is closed once it has as many elements; nil makes one bucket.
  public init(counts: [Int], groupSize: Int, isSharded: Bool, bucketSize: Int? = nil) {
    precondition(groupSize > 0)
    self.groupSize = groupSize
    self.isSharded = isSharded
    let endUnit = isSharded ? leastCommonMultiple(groupSize, BufferLayout.endAlignment) : 1
    let startUnit = isSharded ? BufferLayout.startAlignment : 1
    var slots = [Slot?](repeating: nil, count: counts.count)
    var buckets: [Range<Int>] = []
    var members: [Range<Int>] = []
    var bucketStart = 0
    var end = 0
    func close(at first: Int) {
      end = end.rounded(upTo: endUnit)
      buckets.append(bucketStart..<end)
      members.append(first..<(members.last?.lowerBound ?? counts.count))
      bucketStart = end
    }
    for index in counts.indices.reversed() {
      let start = end.rounded(upTo: startUnit)
      end = start + counts[index]
      slots[index] = Slot(range: start..<end, bucket: buckets.count)
      if let bucketSize, end - bucketStart >= bucketSize { close(at: index) }
    }
    if let first = slots.first, first?.bucket == buckets.count { close(at: 0) }
    self.slots = slots.compactMap { $0 }
    self.buckets = buckets
    self.members = members
  }

  /// The part of `bucket` that `rank` owns; all of it without a distributed optimizer.
  public func shard(of bucket: Int, rank: Int) -> Range<Int> {
    let whole = buckets[bucket]
    guard isSharded else { return whole }
    let size = whole.count / groupSize
    let start = whole.lowerBound + rank * size
    return start..<start + size
  }

  /// The runs of parameters inside `range` of the buffer, by place; padding is left out.
  public func pieces(in range: Range<Int>) -> [Piece] {
    var result: [Piece] = []
    var index = lastSlot(endingAfter: range.lowerBound)
    while index >= 0, slots[index].range.lowerBound < range.upperBound {
      let slot = slots[index].range
      let part = slot.clamped(to: range)
      if !part.isEmpty {
        let start = part.lowerBound - slot.lowerBound
        result.append(
          Piece(parameter: index, range: start..<start + part.count, start: part.lowerBound))
      }
      index -= 1
    }
    return result
  }

  /// The places of the buffer that belong to no parameter.
  public var gaps: [Range<Int>] {
    var result: [Range<Int>] = []
    var end = 0
    for slot in slots.reversed() {
      if slot.range.lowerBound > end { result.append(end..<slot.range.lowerBound) }
      end = slot.range.upperBound
    }
    if end < count { result.append(end..<count) }
    return result
  }

  /// Slots stand in descending order of place: the highest index whose end lies after `place`.
  private func lastSlot(endingAfter place: Int) -> Int {
    var low = 0
    var high = slots.count
    while low < high {
      let middle = (low + high) / 2
      if slots[middle].range.upperBound > place { low = middle + 1 } else { high = middle }
    }
    return low - 1
  }
}

private func leastCommonMultiple(_ a: Int, _ b: Int) -> Int {
  var (x, y) = (a, b)
  while y != 0 { (x, y) = (y, x % y) }
  return a / x * b
}

extension Int {
  func rounded(upTo unit: Int) -> Int { (self + unit - 1) / unit * unit }
}
