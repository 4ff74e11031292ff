import Parallel
import Support
import Tensor

/// The flat gradients of the parameters of one kind: same dtype, all dense or all of experts.
///
/// Layers write into views of it (`Parameter.gradient`). Further flat tensors of the same layout
/// hold canonical batch chunks that are not yet added (`GradientAccumulator`).
final class GradientBuffer {
  let parameters: [OptimizedParameter]
  /// Places in the optimizer's list of parameters.
  let indices: [Int]
  let group: any Communicator
  let layout: BufferLayout
  let engine: Engine
  /// Which source's rows this buffer sums (`Parameter.lanes`); nil for the usual one buffer.
  let lane: Int?
  /// In which type summands travel between ranks: fp32, or bf16 for half the bytes.
  let exchangeType: DType
  /// What is reduced: the sum of all micro-batches of this rank, then of all ranks.
  let flat: Tensor

  var weightType: DType { parameters[0].parameter.dtype }
  var gradientType: DType { flat.dtype }

  /// - Parameter parameters: not empty, of one dtype.
  /// - Throws: `MEM-001`.
  init(
    _ parameters: [OptimizedParameter], indices: [Int], group: any Communicator,
    layout: BufferLayout, gradientType: DType, exchangeType: DType = .float32, lane: Int? = nil,
    engine: Engine
  ) throws(Fault) {
    self.lane = lane
    self.exchangeType = exchangeType
    self.parameters = parameters
    self.indices = indices
    self.group = group
    self.layout = layout
    self.engine = engine
    flat = try Tensor([layout.count], gradientType, on: engine)
    clearGaps(of: flat)
  }

  /// Another flat tensor of the same layout.
  /// - Throws: `MEM-001`.
  func makeFlat() throws(Fault) -> Tensor {
    let extra = try Tensor([layout.count], gradientType, on: engine)
    clearGaps(of: extra)
    return extra
  }

  /// Padding is summed and added like gradients: it must be zero, not what memory held before.
  private func clearGaps(of tensor: Tensor) {
    for gap in layout.gaps { tensor.elements(gap).clear() }
  }

  /// Lets layers write into `tensor`; `written` says which parameters have a gradient there.
  func attach(_ tensor: Tensor, written: [Bool]) {
    for (i, item) in parameters.enumerated() {
      let parameter = item.parameter
      let slot = tensor.elements(layout.slots[i].range).reshaped(parameter.shape)
      guard let lane else {
        parameter.gradient = slot
        parameter.hasGradient = written[i]
        continue
      }
      let own = Parameter.Lane(gradient: slot, hasGradient: written[i])
      if lane < parameter.lanes.count {
        parameter.lanes[lane] = own
      } else {
        parameter.lanes.append(own)
      }
    }
  }

  /// Which parameters got a gradient since `attach`.
  var written: [Bool] { parameters.indices.map(isWritten) }

  private func isWritten(_ i: Int) -> Bool {
    let parameter = parameters[i].parameter
    return lane.map { parameter.lanes[$0].hasGradient } ?? parameter.hasGradient
  }

  /// Sets the gradients of parameters of a bucket that no layer has touched since `attach` to zero.
  func clearUnwritten(_ tensor: Tensor, bucket: Int) {
    for i in layout.members[bucket] where !isWritten(i) {
      engine.clear(tensor.elements(layout.slots[i].range))
    }
  }

  /// Takes the slots of a bucket away, so that a gradient that comes too late is a fault. (Lanes keep
  /// theirs: experts are in one part of the model and write once.)
  func seal(_ bucket: Int) {
    guard lane == nil else { return }
    for item in parameters[layout.members[bucket]] { item.parameter.gradient = nil }
  }

  /// The parts of the buffer that this rank owns after the reduction.
  var ownRanges: [Range<Int>] {
    layout.buckets.indices.map { layout.shard(of: $0, rank: group.rank) }
  }
}

extension Tensor {
  /// Elements `range` of a flat tensor, without a copy.
  func elements(_ range: Range<Int>) -> Tensor {
    Tensor(
      [range.count], dtype, storage: storage, offset: offset + range.lowerBound * dtype.size)
  }
}
