import Support
import Tensor

extension PublishedAssembly {
  /// Hands on a published tensor in the source's dtype, in the order of the file.
  /// - Parameter memory: room for a part; a part is as many rows as fit, at least one.
  public func stream(
    _ name: String, through memory: UnsafeMutableRawBufferPointer,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    for part in ordered(name) {
      let (dtype, shape) = try source.describe(part.name)
      let width = shape.dropFirst().reduce(1, *)
      let piece = part.piece
      guard piece.transposedWidth == nil else {
        try streamTransposed(part, columns: width, elementSize: dtype.size, memory, emit)
        continue
      }
      try RowParts.forEach(
        piece.row..<piece.row + piece.count, rowBytes: width * dtype.size, through: memory
      ) { (rows, bytes) throws(Fault) in
        try source.read(part.name, rows: rows, columns: 0..<width, into: bytes)
        try emit(UnsafeRawBufferPointer(bytes))
      }
    }
  }
}

extension PublishedAssembly {
  /// A block whose rows are our columns: columns are read and turned, as many as fit into half of
  /// `memory`, at least one.
  private func streamTransposed(
    _ part: Part, columns: Int, elementSize: Int, _ memory: UnsafeMutableRawBufferPointer,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    let piece = part.piece
    precondition(piece.transposedWidth == piece.count && piece.publishedColumn == 0)
    let rows = piece.row..<piece.row + piece.count
    let half = UnsafeMutableRawBufferPointer(rebasing: memory[..<(memory.count / 2)])
    let rowBytes = piece.count * elementSize
    let turned = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(rowBytes, half.count), alignment: 64)
    defer { turned.deallocate() }
    try RowParts.forEach(0..<columns, rowBytes: rowBytes, through: half) {
      (range, bytes) throws(Fault) in
      try source.read(part.name, rows: rows, columns: range, into: bytes)
      guard let from = bytes.baseAddress else { return }
      ElementTranspose.copy(
        from, rowStride: range.count, rows: piece.count, columns: range.count,
        elementSize: elementSize, into: turned.baseAddress, targetStride: piece.count)
      try emit(UnsafeRawBufferPointer(rebasing: turned[..<(range.count * rowBytes)]))
    }
  }
}

/// Cuts a range of rows into parts that fit into a buffer.
public enum RowParts {
  /// - Parameter memory: used when a row fits into it; else memory for one row is made.
  public static func forEach(
    _ rows: Range<Int>, rowBytes: Int, through memory: UnsafeMutableRawBufferPointer,
    _ body: (Range<Int>, UnsafeMutableRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    guard rowBytes > 0, !rows.isEmpty else { return }
    guard rowBytes <= memory.count else {
      let own = UnsafeMutableRawBufferPointer.allocate(byteCount: rowBytes, alignment: 64)
      defer { own.deallocate() }
      for row in rows { try body(row..<row + 1, own) }
      return
    }
    let step = memory.count / rowBytes
    for first in stride(from: rows.lowerBound, to: rows.upperBound, by: step) {
      let part = first..<min(first + step, rows.upperBound)
      try body(part, UnsafeMutableRawBufferPointer(rebasing: memory[..<(part.count * rowBytes)]))
    }
  }
}
