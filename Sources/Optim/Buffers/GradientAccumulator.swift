import Support
import Tensor

/// Sums the micro-batches of a step in canonical order with as few buffers as the order allows.
///
/// Used by the thread that drives the rank: `begin`, then for each micro-batch `beginMicroBatch`,
/// the backward pass, `endMicroBatch`; after the last the sum stands in each buffer's `flat`. A bucket
/// can be closed while the last backward pass goes on, and then has its sum before the others.
final class GradientAccumulator {
  private let buffers: [GradientBuffer]
  private let tree: ChunkTree
  private var microBatches = 0
  /// Next micro-batch to begin; nil outside a step.
  private(set) var next: Int?

  /// A flat tensor of every gradient buffer.
  private final class FlatSet {
    let tensors: [Tensor]
    var written: [[Bool]] = []
    init(_ tensors: [Tensor]) { self.tensors = tensors }
  }
  private let primary: FlatSet
  private var spare: [FlatSet] = []
  /// Chunks that still get micro-batches.
  private var open: [Int: FlatSet] = [:]
  /// Finished sums that wait for their partner.
  private var finished: [ChunkNode: FlatSet] = [:]
  /// What the last backward pass completes; nil until the first bucket of it is closed.
  private var closing: Closing?
  /// By buffer and bucket.
  private var isClosed: [[Bool]] = []

  /// A chunk that got its last micro-batch, and the additions that become possible with it.
  private struct Closing {
    let set: FlatSet
    let additions: [(target: FlatSet, source: FlatSet)]
  }
  /// Flat sets besides the primary one that were ever needed.
  private(set) var extraSets = 0

  init(_ buffers: [GradientBuffer], tree: ChunkTree) {
    self.buffers = buffers
    self.tree = tree
    primary = FlatSet(buffers.map(\.flat))
  }

  /// Starts a step of `microBatches` micro-batches.
  func begin(microBatches: Int) {
    precondition(microBatches > 0)
    for set in Array(open.values) + Array(finished.values) where set !== primary {
      spare.append(set)
    }
    open = [:]
    finished = [:]
    closing = nil
    isClosed = buffers.map { Array(repeating: false, count: $0.layout.buckets.count) }
    self.microBatches = microBatches
    next = 0
  }

  /// The micro-batch that is under way is the last one.
  var isLast: Bool { next.map { $0 + 1 == microBatches } ?? false }

  /// Points the parameters at the buffer of the chunk of micro-batch `m`.
  /// - Throws: `INT-001` if micro-batches come in another order; `MEM-001`.
  func beginMicroBatch(_ m: Int) throws(Fault) {
    guard next == m, m < microBatches else {
      throw Fault(
        .internalError, "micro-batch \(m) of \(microBatches) comes out of order",
        at: .operation("gradient accumulation"))
    }
    let chunk = tree.chunk(of: m)
    let set: FlatSet
    if let known = open[chunk] { set = known } else { set = try takeSet(for: chunk) }
    for (i, buffer) in buffers.enumerated() {
      buffer.attach(set.tensors[i], written: set.written[i])
    }
  }

  private func takeSet(for chunk: Int) throws(Fault) -> FlatSet {
    let set: FlatSet
    if chunk == 0 {
      set = primary
    } else if let idle = spare.popLast() {
      set = idle
    } else {
      var tensors: [Tensor] = []
      for buffer in buffers { tensors.append(try buffer.makeFlat()) }
      set = FlatSet(tensors)
      extraSets += 1
    }
    set.written = buffers.map { Array(repeating: false, count: $0.parameters.count) }
    open[chunk] = set
    return set
  }

  /// Takes note of the backward pass of micro-batch `m`; adds what is complete.
  func endMicroBatch(_ m: Int) {
    let isLast = self.isLast
    if tree.completes(m, of: microBatches) {
      let closing = close(m)
      for i in buffers.indices {
        for bucket in buffers[i].layout.buckets.indices where !isLast || !isClosed[i][bucket] {
          complete(closing, i, bucket)
        }
      }
      self.closing = nil
    } else {
      open[tree.chunk(of: m)]?.written = buffers.map(\.written)
    }
    next = isLast ? nil : m + 1
  }

  /// The last backward pass adds nothing more to a bucket: its sum is made now.
  func close(buffer i: Int, bucket: Int) {
    guard isLast, let m = next, !isClosed[i][bucket] else { return }
    complete(close(m), i, bucket)
    isClosed[i][bucket] = true
    buffers[i].seal(bucket)
  }

  /// Takes the chunk of micro-batch `m` out of the open ones.
  private func close(_ m: Int) -> Closing {
    if let closing { return closing }
    let chunk = tree.chunk(of: m)
    let set = open.removeValue(forKey: chunk) ?? primary
    let made = Closing(
      set: set, additions: join(ChunkNode(size: tree.local, index: chunk), set))
    closing = made
    return made
  }

  /// Additions of finished sums that `set` completes, in order.
  private func join(_ node: ChunkNode, _ set: FlatSet) -> [(target: FlatSet, source: FlatSet)] {
    var additions: [(target: FlatSet, source: FlatSet)] = []
    var node = node
    var set = set
    while let (partner, sum) = node.join {
      if partner.index < microBatches {
        guard let other = finished.removeValue(forKey: partner) else {
          finished[node] = set
          return additions
        }
        let isLeft = node.index < partner.index
        let (left, right) = isLeft ? (set, other) : (other, set)
        additions.append((left, right))
        spare.append(right)
        set = left
      }
      node = sum
    }
    return additions
  }

  private func complete(_ closing: Closing, _ i: Int, _ bucket: Int) {
    let buffer = buffers[i]
    let range = buffer.layout.buckets[bucket]
    buffer.clearUnwritten(closing.set.tensors[i], bucket: bucket)
    for (target, source) in closing.additions {
      let sum = target.tensors[i].elements(range)
      buffer.engine.add(sum, source.tensors[i].elements(range), into: sum)
    }
  }

  /// The step's gradients were taken or thrown away.
  var isComplete: Bool { next == nil && microBatches > 0 }

  /// Forgets the step, so that its gradients are not used twice.
  func finish() { microBatches = 0 }
}
