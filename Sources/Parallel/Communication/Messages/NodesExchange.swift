import Support

/// Sums of a group whose nodes hold neighbouring ranks, equally many on each, a power of two.
///
/// Then the ranks of a node are a subtree of `TreeOrder.adjacentFirst`: adding inside the node first
/// (shared memory) and between nodes afterwards (messages, 1/m of the bytes with m ranks on a
/// node) changes no addition. Everything else goes by messages.
///
///     rank r = node·m + l        local: the m ranks of a node       across: equal l on all nodes
final class NodesExchange: Exchange {
  private let all: MessageExchange
  private let local: any Exchange
  private let across: any Exchange
  /// Ranks on a node.
  private let width: Int
  private let nodes: Int
  /// Bytes handled at once.
  private let piece: Int
  private var sums = Scratch()
  private var packed = Scratch()

  init(
    all: MessageExchange, local: any Exchange, across: any Exchange, width: Int, nodes: Int,
    piece: Int = 8 << 20
  ) {
    self.all = all
    self.local = local
    self.across = across
    self.width = width
    self.nodes = nodes
    self.piece = max(piece, 64 * width * nodes)
  }

  /// Ranks per node if `nodeOf` (node of each rank of the group) has the shape this type needs.
  static func width(of nodeOf: [Int]) -> Int? {
    guard let first = nodeOf.first else { return nil }
    let width = nodeOf.prefix { $0 == first }.count
    guard width > 1, width & (width - 1) == 0, nodeOf.count % width == 0 else { return nil }
    let leaders = stride(from: 0, to: nodeOf.count, by: width).map { nodeOf[$0] }
    guard Set(leaders).count == leaders.count else { return nil }
    let isRegular = nodeOf.indices.allSatisfy { nodeOf[$0] == leaders[$0 / width] }
    return isRegular ? width : nil
  }

  /// Whether nodes are subtrees of the reduction's tree. A maximum or an integer sum has no order,
  /// and the first NaN of a maximum stays the first.
  private func isNodeFirst(_ reduction: Reduction) -> Bool {
    if case .sum(.distantFirst) = reduction { return false }
    return true
  }

  func barrier() throws(Fault) { try all.barrier() }

  func broadcast(_ buffer: UnsafeMutableRawBufferPointer, from root: Int) throws(Fault) {
    try all.broadcast(buffer, from: root)
  }

  func allGather(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(Fault) {
    try all.allGather(send, into: receive, counts: counts)
  }

  func allToAll(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int]
  ) throws(Fault) {
    try all.allToAll(send, sendCounts: sendCounts, into: receive, receiveCounts: receiveCounts)
  }

  func reduceScatter(
    _ send: UnsafeRawPointer, into receive: UnsafeMutableRawPointer, count: Int,
    _ reduction: Reduction
  ) throws(Fault) {
    guard isNodeFirst(reduction) else {
      return try all.reduceScatter(send, into: receive, count: count, reduction)
    }
    let element = reduction.elementBytes
    let step = max(min(count, piece / (element * width * nodes)), 1)
    let ordered = packed.room(width * nodes * step * element)
    let partial = sums.room(nodes * step * element)
    var at = 0
    while at < count {
      let part = min(step, count - at)
      // The slices that local rank l is to add lie together: one per node.
      for l in 0..<width {
        for node in 0..<nodes {
          copy(
            send + ((node * width + l) * count + at) * element,
            to: ordered + (l * nodes + node) * part * element, bytes: part * element)
        }
      }
      try local.reduceScatter(ordered, into: partial, count: nodes * part, reduction)
      try across.reduceScatter(partial, into: receive + at * element, count: part, reduction)
      at += part
    }
  }

  func allReduce(
    _ buffer: UnsafeMutableRawPointer, count: Int, _ reduction: Reduction
  ) throws(Fault) {
    guard isNodeFirst(reduction), count >= 4096 else {
      return try all.allReduce(buffer, count: count, reduction)
    }
    let element = reduction.elementBytes
    let step = piece / (element * width)
    var at = 0
    while count - at >= width {
      let part = min(step, (count - at) / width)
      try allReducePiece(buffer + at * element, part: part, reduction)
      at += part * width
    }
    if at < count { try all.allReduce(buffer + at * element, count: count - at, reduction) }
  }

  /// `width` slices of `part` elements.
  private func allReducePiece(
    _ buffer: UnsafeMutableRawPointer, part: Int, _ reduction: Reduction
  ) throws(Fault) {
    let bytes = part * reduction.elementBytes
    let sum = sums.room(bytes)
    try local.reduceScatter(buffer, into: sum, count: part, reduction)
    try across.allReduce(sum, count: part, reduction)
    try local.allGather(
      UnsafeRawBufferPointer(start: sum, count: bytes),
      into: UnsafeMutableRawBufferPointer(start: buffer, count: width * bytes),
      counts: [Int](repeating: bytes, count: width))
  }
}
