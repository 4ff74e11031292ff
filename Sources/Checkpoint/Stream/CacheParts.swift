import Support

/// Cuts bytes that are passed over several times into parts that stay in the cache meanwhile.
enum CacheParts {
  static let partBytes = 256 << 10

  static func forEach(
    _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    for first in stride(from: 0, to: bytes.count, by: partBytes) {
      let part = first..<min(first + partBytes, bytes.count)
      try body(UnsafeRawBufferPointer(rebasing: bytes[part]))
    }
  }
}
