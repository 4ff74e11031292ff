import Support
import Tensor

extension PublishedAssembly {
  /// Hands on a published tensor in the source's dtype, in the order of the file.
  /// - Parameter emit: gets parts of whole elements, which are good during the call.
  public func stream(
    _ name: String, through memory: StreamMemory,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    for part in ordered(name) {
      let (dtype, shape) = try source.describe(part.name)
      let piece = part.piece
      let rows = piece.row..<piece.row + piece.count
      guard piece.transposedWidth != nil else {
        try source.stream(part.name, rows: rows, wholly: false, through: memory, emit)
        continue
      }
      // A block whose rows are our columns.
      precondition(piece.transposedWidth == piece.count && piece.publishedColumn == 0)
      let width = shape.dropFirst().reduce(1, *)
      try withRows(part.name, rows, byteCount: piece.count * width * dtype.size, memory) {
        (bytes) throws(Fault) in
        guard let from = bytes.baseAddress else { return }
        try ElementTranspose.strips(
          from, rowStride: width, rows: piece.count, columns: 0..<width, elementSize: dtype.size,
          room: memory.assembled, emit)
      }
    }
  }

  /// Lends rows of one of our tensors in one piece, where they arrived if they came as such.
  private func withRows(
    _ name: String, _ rows: Range<Int>, byteCount: Int, _ memory: StreamMemory,
    _ body: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    var gathered = 0
    var isDone = false
    try source.stream(name, rows: rows, wholly: true, through: memory) { (bytes) throws(Fault) in
      if bytes.count == byteCount {
        isDone = true
        return try body(bytes)
      }
      let room = memory.gathered(byteCount)[gathered..<gathered + bytes.count]
      UnsafeMutableRawBufferPointer(rebasing: room).copyMemory(from: bytes)
      gathered += bytes.count
    }
    if !isDone { try body(UnsafeRawBufferPointer(memory.gathered(byteCount))) }
  }
}
