import CMPI
import Support

/// Collectives over MPI messages, for groups that span nodes or have no shared memory.
///
/// Sums are an all-to-all of slices, a local sum in tree order and an all-gather: the volume of a
/// ring, 2·(n-1)/n of the buffer, without the library's order of additions.
final class MessageExchange: Exchange {
  let group: MessageGroup
  let label: String
  /// Bytes of a buffer exchanged at once; bounds the memory for the peers' summands.
  private let piece: Int
  /// Sums up to this size are gathered whole and added by every rank: one latency instead of two.
  private let small: Int
  private let sources: SourceTable
  private var scratch = Scratch()

  init(group: MessageGroup, label: String, piece: Int = 8 << 20, small: Int = 16 << 10) {
    self.group = group
    self.label = label
    self.piece = max(piece, 64 * group.size)
    self.small = small
    sources = SourceTable(count: group.size)
  }

  private var rank: Int { group.rank }
  private var size: Int { group.size }

  func barrier() throws(Fault) {
    try check(cmpi_barrier_all(group.handle), "barrier on \(label)")
  }

  func broadcast(_ buffer: UnsafeMutableRawBufferPointer, from root: Int) throws(Fault) {
    guard let base = buffer.baseAddress else { return }
    try check(
      cmpi_broadcast(group.handle, base, Int64(buffer.count), Int32(root)),
      "broadcast on \(label)")
  }

  func allGather(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(Fault) {
    let equal = counts.allSatisfy { $0 == counts[0] }
    let error =
      equal
      ? cmpi_allgather(group.handle, send.baseAddress, Int64(send.count), receive.baseAddress)
      : cmpi_allgatherv(
        group.handle, send.baseAddress, receive.baseAddress, wide(counts),
        wide(offsets(of: counts)))
    try check(error, "all-gather on \(label)")
  }

  func allToAll(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int]
  ) throws(Fault) {
    // An empty buffer has no address; no byte is read or written through this one.
    var nothing: UInt64 = 0
    let error = withUnsafeMutablePointer(to: &nothing) { spare in
      cmpi_alltoallv(
        group.handle, send.baseAddress ?? UnsafeRawPointer(spare), wide(sendCounts),
        wide(offsets(of: sendCounts)), receive.baseAddress ?? UnsafeMutableRawPointer(spare),
        wide(receiveCounts), wide(offsets(of: receiveCounts)))
    }
    try check(error, "all-to-all on \(label)")
  }

  func reduceScatter(
    _ send: UnsafeRawPointer, into receive: UnsafeMutableRawPointer, count: Int,
    _ reduction: Reduction
  ) throws(Fault) {
    let element = reduction.elementBytes
    let width = max(min(count, piece / (element * size)), 1)
    let parts = scratch.room(size * width * element)
    var at = 0
    while at < count {
      let part = min(width, count - at)
      let bytes = [Int64](repeating: Int64(part * element), count: size)
      let from = (0..<size).map { Int64(($0 * count + at) * element) }
      let to = (0..<size).map { Int64($0 * part * element) }
      try check(
        cmpi_alltoallv(group.handle, send, bytes, from, parts, bytes, to),
        "reduce-scatter on \(label)")
      combine(parts, stride: part * element, into: receive + at * element, count: part, reduction)
      at += part
    }
  }

  func allReduce(
    _ buffer: UnsafeMutableRawPointer, count: Int, _ reduction: Reduction
  ) throws(Fault) {
    let element = reduction.elementBytes
    let bytes = count * element
    if bytes <= small {
      let parts = scratch.room(size * bytes)
      try check(
        cmpi_allgather(group.handle, buffer, Int64(bytes), parts), "all-reduce on \(label)")
      combine(parts, stride: bytes, into: buffer, count: count, reduction)
      return
    }
    let width = piece / element
    var at = 0
    while at < count {
      let part = min(width, count - at)
      try allReducePiece(buffer + at * element, count: part, reduction)
      at += part
    }
  }

  private func allReducePiece(
    _ buffer: UnsafeMutableRawPointer, count: Int, _ reduction: Reduction
  ) throws(Fault) {
    let element = reduction.elementBytes
    let share = (count + size - 1) / size
    let starts = (0..<size).map { min($0 * share, count) }
    let lengths = starts.map { min(share, count - $0) }
    let mine = lengths[rank]
    let parts = scratch.room(max(size * mine * element, 1))
    let counts = lengths.map { Int64($0 * element) }
    let places = starts.map { Int64($0 * element) }
    try check(
      cmpi_alltoallv(
        group.handle, buffer, counts, places, parts,
        [Int64](repeating: Int64(mine * element), count: size),
        (0..<size).map { Int64($0 * mine * element) }), "all-reduce on \(label)")
    let own = buffer + starts[rank] * element
    if mine > 0 { combine(parts, stride: mine * element, into: own, count: mine, reduction) }
    try check(
      cmpi_allgatherv(group.handle, own, buffer, counts, places), "all-reduce on \(label)")
  }

  private func combine(
    _ parts: UnsafeMutableRawPointer, stride: Int, into out: UnsafeMutableRawPointer,
    count: Int, _ reduction: Reduction
  ) {
    for member in 0..<size { sources[member] = UnsafeRawPointer(parts + member * stride) }
    sources.combine(into: out, count: count, reduction)
  }

  private func wide(_ counts: [Int]) -> [Int64] { counts.map { Int64($0) } }
}

/// Memory that grows and is used again.
struct Scratch {
  private final class Block {
    let base: UnsafeMutableRawPointer
    let bytes: Int
    init(bytes: Int) {
      self.bytes = bytes
      base = .allocate(byteCount: bytes, alignment: 64)
    }
    deinit { base.deallocate() }
  }
  private var block: Block?

  /// At least `bytes` bytes of unspecified content, valid until the next call.
  mutating func room(_ bytes: Int) -> UnsafeMutableRawPointer {
    if let block, block.bytes >= bytes { return block.base }
    let larger = Block(bytes: max(bytes, 64))
    block = larger
    return larger.base
  }
}
