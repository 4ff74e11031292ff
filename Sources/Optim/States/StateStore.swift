import Support
import Tensor

/// The stored states of all segments of one rank, near and far.
///
/// Near segments lie in one piece of memory, each as one block; far ones in NUMA memory in the
/// same form, or in a file in blocks of `streamElements`.
final class StateStore {
  /// Elements of a block of scaled states, which should stay in cache; scratch has as many.
  static let blockElements = 1 << 18
  /// Elements of a block of states that need no scratch.
  static let longBlockElements = 1 << 22

  let engine: Engine
  let format: StateFormat
  let segments: [StateSegment]
  var scales: [StateScales]
  private let near: Tensor
  private let farMemory: NumaMemory?
  private let stream: OffloadStream?
  private let file: OffloadFile?
  /// Byte offset of each segment in its tier.
  private let offsets: [Int]
  /// Elements of a block of the far file.
  private let streamElements: Int
  let farBytes: Int

  /// - Throws: `OPTIM-301`, `OPTIM-302`, `MEM-001`.
  init(
    _ segments: [StateSegment], format: StateFormat, offload: OffloadOptions?, rank: Int,
    engine: Engine
  ) throws(Fault) {
    self.engine = engine
    self.format = format
    var segments = segments
    if let offload {
      let far = OffloadOptions.farCount(segments.map(\.count), fraction: offload.fraction)
      for i in 0..<far { segments[i].isFar = true }
    }
    self.segments = segments
    let streamElements = offload?.blockElements ?? StateStore.blockElements
    self.streamElements = streamElements
    scales = Array(repeating: StateScales(), count: segments.count)
    var streams = false
    if case .folder = offload?.tier { streams = true }
    var ends = (near: 0, far: 0)
    var offsets: [Int] = []
    for segment in segments {
      offsets.append(segment.isFar ? ends.far : ends.near)
      if !segment.isFar {
        ends.near += format.places(segment.count).end
      } else if streams {
        ends.far += StateStore.fileBytes(segment.count, streamElements, format)
      } else {
        ends.far += format.places(segment.count).end
      }
    }
    self.offsets = offsets
    farBytes = ends.far
    near = try Tensor([ends.near], .uint8, on: engine)
    near.clear()
    var (memory, file, stream): (NumaMemory?, OffloadFile?, OffloadStream?)
    if let offload, ends.far > 0, !engine.isPlanning {
      switch offload.tier {
      case .numaNode(let node): memory = try NumaMemory(ends.far, node: node)
      case .folder(let folder):
        let made = try OffloadFile(in: folder, byteCount: ends.far, rank: rank)
        file = made
        stream = try OffloadStream(
          made, blockBytes: StateStore.blockStride(streamElements, format))
      }
    }
    (farMemory, self.file, self.stream) = (memory, file, stream)
  }

  /// Memory of this rank, transfer buffers included.
  var nearBytes: Int { near.byteCount + (stream?.nearBytes ?? 0) }
  var isStreaming: Bool { stream != nil }

  private static func blockStride(_ count: Int, _ format: StateFormat) -> Int {
    format.places(count).end.rounded(upTo: OffloadFile.alignment)
  }

  private static func fileBytes(_ count: Int, _ block: Int, _ format: StateFormat) -> Int {
    let whole = count / block
    let rest = count % block
    return whole * blockStride(block, format)
      + (rest > 0 ? blockStride(rest, format) : 0)
  }

  /// The blocks of `segments` for one walk in each of `phases`, segment by segment.
  /// - Parameter fitsScratch: a block may be copied into scratch.
  func blocks(
    of segments: some Sequence<Int>, _ phases: [StatePhase], fitsScratch: Bool
  ) -> [StateBlock] {
    var result: [StateBlock] = []
    for segment in segments {
      var size = fitsScratch ? StateStore.blockElements : StateStore.longBlockElements
      if self.segments[segment].isFar, isStreaming { size = streamElements }
      let count = self.segments[segment].count
      for phase in phases {
        var start = 0
        while start < count {
          let end = min(start + size, count)
          result.append(StateBlock(segment: segment, range: start..<end, phase: phase))
          start = end
        }
      }
    }
    return result
  }

  /// Calls `body` with every block and its memory. Blocks of a segment come in the given order;
  /// near ones come between streamed ones, so that transfers and arithmetic overlap.
  /// - Throws: `OPTIM-302`, or what `body` throws.
  func visit(
    _ blocks: [StateBlock], _ body: (StateBlock, StatePointers) throws(Fault) -> Void
  ) throws(Fault) {
    guard !engine.isPlanning else { return }
    let streamed = blocks.filter { segments[$0.segment].isFar && isStreaming }
    guard let stream, !streamed.isEmpty else {
      for block in blocks { try body(block, pointers(block)) }
      return
    }
    let direct = blocks.filter { !segments[$0.segment].isFar }
    try stream.run(streamed.map(transfer)) { (cursor) throws(Fault) in
      var done = 0
      for (i, block) in streamed.enumerated() {
        let share = direct.count * (i + 1) / streamed.count
        for block in direct[done..<share] { try body(block, pointers(block)) }
        done = share
        try cursor.next { (memory) throws(Fault) in
          try body(block, format.pointers(memory, block.range.count))
        }
      }
    }
  }

  private func transfer(_ block: StateBlock) -> OffloadTransfer {
    let index = block.range.lowerBound / streamElements
    return OffloadTransfer(
      offset: offsets[block.segment]
        + index * StateStore.blockStride(streamElements, format),
      byteCount: StateStore.blockStride(block.range.count, format),
      writes: block.phase == .apply)
  }

  private func pointers(_ block: StateBlock) -> StatePointers {
    let segment = segments[block.segment]
    let base = segment.isFar ? farMemory?.address : nil
    let whole = format.pointers(
      (base ?? near.address) + offsets[block.segment], segment.count)
    let start = block.range.lowerBound
    return StatePointers(
      master: whole.master + start * format.master.size,
      first: whole.first + start * format.first.size,
      second: whole.second + start * (format.second?.size ?? 0))
  }
}

extension StateFormat {
  /// The parts of a block of `count` elements at `memory`.
  func pointers(_ memory: UnsafeMutableRawPointer, _ count: Int) -> StatePointers {
    let places = places(count)
    return StatePointers(
      master: memory + places.master, first: memory + places.first,
      second: memory + places.second)
  }
}
