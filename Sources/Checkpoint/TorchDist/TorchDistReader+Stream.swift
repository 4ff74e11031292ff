import Support
import Tensor

extension TorchDistReader {
  /// Hands on the box `ranges` of a tensor, row-major and unconverted. Where its pieces follow each
  /// other in their storages, bytes are not copied on the way, and each is checked as by `read`.
  /// - Parameters:
  ///   - wholly: in one part, where the box lies in one piece; else in parts as they come.
  ///   - body: gets parts of whole elements at any address, which are good during the call.
  /// - Throws: as `read`; what `body` throws.
  public func stream(
    _ key: String, ranges: [Range<Int>], wholly: Bool, through memory: StreamMemory,
    _ body: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    let tensor = try tensor(key, ranges)
    let target = Box(ranges)
    if target.isEmpty { return }
    guard let checks, let pieces = tensor.sequence(target) else {
      return try copied(tensor, target, wholly: wholly, through: memory, body)
    }
    for (chunk, part) in pieces {
      do throws(Fault) {
        let (archive, record) = try opened(chunk, of: tensor.spec)
        guard archive.isPlain(record) else {
          try copied(tensor, part, wholly: wholly, through: memory, body)
          continue
        }
        let bytes = part.count * tensor.spec.dtype.size
        try archive.stream(
          record, part: part, chunk: chunk.box, wholly: wholly,
          through: memory.transfer(holding: wholly ? bytes : nil), checks: (checks, chunk.location),
          body)
      } catch {
        throw Self.named(error, key, folder + "/" + chunk.location.file)
      }
    }
  }

  /// Reads a box into memory, a run along its first axis of more than one index at a time.
  private func copied(
    _ tensor: StoredTensor, _ box: Box, wholly: Bool, through memory: StreamMemory,
    _ body: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    let bytes = box.count * tensor.spec.dtype.size
    let axis = box.sizes.firstIndex { $0 > 1 } ?? max(box.sizes.count - 1, 0)
    let rows = box.sizes.isEmpty ? 1 : box.sizes[axis]
    let rowBytes = bytes / rows
    let step = wholly ? rows : max(StreamMemory.transferBytes / rowBytes, 1)
    let block = memory.transfer(holding: min(step, rows) * rowBytes)
    for first in stride(from: 0, to: rows, by: step) {
      let count = min(step, rows - first)
      var part = box
      if !box.sizes.isEmpty {
        part.offsets[axis] += first
        part.sizes[axis] = count
      }
      let room = UnsafeMutableRawBufferPointer(rebasing: block.bytes[..<(count * rowBytes)])
      let ranges = zip(part.offsets, part.sizes).map { $0..<$0 + $1 }
      try read(tensor.spec.name, ranges: ranges, into: room)
      try body(UnsafeRawBufferPointer(room))
    }
  }
}

extension StoredTensor {
  /// The pieces that make up a box one after another, each with its part, in row-major order.
  /// - Returns: nil when one of them is not a single stretch in both, or when they do not tile it.
  func sequence(_ box: Box) -> [(chunk: StoredChunk, part: Box)]? {
    var found: [(place: Int, chunk: StoredChunk, part: Box)] = []
    for chunk in candidates(box) {
      guard let part = chunk.box.intersection(box) else { continue }
      let runs = BoxRuns(box: part, source: chunk.box, target: box, elementSize: 1)
      guard runs.runCount == 1 else { return nil }
      found.append((runs.firstTarget, chunk, part))
    }
    found.sort { $0.place < $1.place }
    var end = 0
    for piece in found {
      guard piece.place == end else { return nil }
      end += piece.part.count
    }
    return end == box.count ? found.map { ($0.chunk, $0.part) } : nil
  }
}
