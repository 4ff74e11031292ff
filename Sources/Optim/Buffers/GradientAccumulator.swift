import Support
import Tensor

/// Sums the micro-batches of a step in canonical order with as few buffers as the order allows.
///
/// Used by the thread that drives the rank: `begin`, then for each micro-batch `beginMicroBatch`,
/// the backward pass, `endMicroBatch`; after the last the sum stands in each buffer's `flat`.
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
    self.microBatches = microBatches
    next = 0
  }

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
    let chunk = tree.chunk(of: m)
    guard let set = open[chunk] else { return }
    set.written = buffers.map(\.written)
    next = m + 1
    guard tree.completes(m, of: microBatches) else { return }
    open[chunk] = nil
    for (i, buffer) in buffers.enumerated() {
      buffer.clearUnwritten(set.tensors[i], written: set.written[i])
    }
    join(ChunkNode(size: tree.local, index: chunk), set)
    if m + 1 == microBatches { next = nil }
  }

  private func join(_ node: ChunkNode, _ set: FlatSet) {
    var node = node
    var set = set
    while let (partner, sum) = node.join {
      if partner.index < microBatches {
        guard let other = finished.removeValue(forKey: partner) else {
          finished[node] = set
          return
        }
        let isLeft = node.index < partner.index
        let (left, right) = isLeft ? (set, other) : (other, set)
        add(right, to: left)
        spare.append(right)
        set = left
      }
      node = sum
    }
  }

  private func add(_ source: FlatSet, to target: FlatSet) {
    for i in buffers.indices {
      buffers[i].engine.add(target.tensors[i], source.tensors[i], into: target.tensors[i])
    }
  }

  /// The step's gradients were taken or thrown away.
  var isComplete: Bool { next == nil && microBatches > 0 }

  /// Forgets the step, so that its gradients are not used twice.
  func finish() { microBatches = 0 }
}
