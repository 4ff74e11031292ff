/// Copies of a matrix with rows and columns exchanged, for elements of 1, 2, 4 or 8 bytes.
enum ElementTranspose {
  /// `target[c, r] = source[r, c]`; strides count elements.
  static func copy(
    _ source: UnsafeRawPointer, rowStride: Int, rows: Int, columns: Int, elementSize: Int,
    into target: UnsafeMutableRawPointer?, targetStride: Int
  ) {
    guard let target else { return }
    func copy<T: BitwiseCopyable>(_ type: T.Type) {
      let from = source.assumingMemoryBound(to: type)
      let to = target.assumingMemoryBound(to: type)
      // Squares that stay in the cache on both sides.
      let side = 64
      for r0 in stride(from: 0, to: rows, by: side) {
        for c0 in stride(from: 0, to: columns, by: side) {
          for c in c0..<min(c0 + side, columns) {
            for r in r0..<min(r0 + side, rows) {
              to[c * targetStride + r] = from[r * rowStride + c]
            }
          }
        }
      }
    }
    switch elementSize {
    case 1: copy(UInt8.self)
    case 2: copy(UInt16.self)
    case 4: copy(UInt32.self)
    default: copy(UInt64.self)
    }
  }
}
