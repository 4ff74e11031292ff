import CKernels
import Support

/// Copies of a matrix with rows and columns exchanged, for elements of 1, 2, 4 or 8 bytes.
enum ElementTranspose {
  /// Half of a second-level cache of 1 MiB; narrower strips use less of each line that they load.
  private static let stripBytes = 512 << 10

  /// `target[c, r] = source[r, c]`; strides count elements. The two share no memory.
  static func copy(
    _ source: UnsafeRawPointer, rowStride: Int, rows: Int, columns: Int, elementSize: Int,
    into target: UnsafeMutableRawPointer?, targetStride: Int
  ) {
    guard let target else { return }
    ck_transpose(-1, Int32(elementSize), rows, columns, source, rowStride, target, targetStride)
  }

  /// Hands on the rows of the transpose of a matrix in order, some at a time: so few that they are
  /// still in the cache when they are used.
  /// - Parameters:
  ///   - source: `[rows, rowStride]`, of which the columns `columns` are turned.
  ///   - room: lends memory of so many bytes, which is not that of `source`.
  ///   - emit: gets bytes of `[some, rows]`.
  static func strips(
    _ source: UnsafeRawPointer, rowStride: Int, rows: Int, columns: Range<Int>, elementSize: Int,
    room: (Int) -> UnsafeMutableRawBufferPointer,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    let bytes = rows * elementSize
    guard bytes > 0 else { return }
    // Whole squares of the kernel, which has lines of 64 bytes.
    let square = max(64 / elementSize, 1)
    let step = max(stripBytes / bytes / square, 1) * square
    let turned = room(step * bytes)
    for first in stride(from: columns.lowerBound, to: columns.upperBound, by: step) {
      let count = min(step, columns.upperBound - first)
      copy(
        source + first * elementSize, rowStride: rowStride, rows: rows, columns: count,
        elementSize: elementSize, into: turned.baseAddress, targetStride: rows)
      try emit(UnsafeRawBufferPointer(rebasing: turned[..<(count * bytes)]))
    }
  }
}
