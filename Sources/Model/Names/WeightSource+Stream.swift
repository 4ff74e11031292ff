import Support
import Tensor

extension WeightSource {
  /// Reads the rows into memory, as many at a time as fit.
  public func stream(
    _ name: String, rows: Range<Int>, wholly: Bool, through memory: StreamMemory,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    let (dtype, shape) = try describe(name)
    let width = shape.dropFirst().reduce(1, *)
    let rowBytes = width * dtype.size
    let block = memory.transfer(holding: wholly ? rows.count * rowBytes : rowBytes)
    try RowParts.forEach(rows, rowBytes: rowBytes, through: block.bytes) {
      (part, bytes) throws(Fault) in
      try read(name, rows: part, columns: 0..<width, into: bytes)
      try emit(UnsafeRawBufferPointer(bytes))
    }
  }
}

extension PublishedTensors {
  /// Reads the elements into memory, as many at a time as fit.
  public func streamElements(
    published name: String, _ elements: Range<Int>, wholly: Bool, through memory: StreamMemory,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    guard let size = describe(published: name)?.dtype.size else {
      throw Fault(.badModelWeights, "there is no tensor \(name)", at: .tensor(name))
    }
    let block = memory.transfer(holding: wholly ? elements.count * size : nil)
    try RowParts.forEach(elements, rowBytes: size, through: block.bytes) {
      (part, bytes) throws(Fault) in
      try readElements(published: name, part, into: bytes)
      try emit(UnsafeRawBufferPointer(bytes))
    }
  }
}

extension PublishedWeightSource {
  public func stream(
    _ name: String, rows: Range<Int>, wholly: Bool, through memory: StreamMemory,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    let row = try row(name)
    let width = row.shape.dropFirst().reduce(1, *)
    for piece in row.pieces.sorted(by: { $0.row < $1.row }) {
      let wanted = (piece.row..<piece.row + piece.count).clamped(to: rows)
      if wanted.isEmpty { continue }
      let size = try dtype(of: piece).size
      let run = wanted.lowerBound - piece.row..<wanted.upperBound - piece.row
      guard let stride = piece.transposedWidth else {
        let first = (piece.publishedRow + run.lowerBound) * width
        try tensors.streamElements(
          published: piece.published, first..<first + run.count * width, wholly: wholly,
          through: memory, emit)
        continue
      }
      // Our columns are rows of the published block, which is read as a whole and once.
      let first = piece.publishedRow * stride
      let columns = piece.publishedColumn + run.lowerBound..<piece.publishedColumn + run.upperBound
      try tensors.streamElements(
        published: piece.published, first..<first + width * stride, wholly: true, through: memory
      ) { (block) throws(Fault) in
        guard let from = block.baseAddress else { return }
        try ElementTranspose.strips(
          from, rowStride: stride, rows: width, columns: columns, elementSize: size,
          room: memory.turned, emit)
      }
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
