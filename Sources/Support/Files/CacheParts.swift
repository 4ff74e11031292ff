/// Cuts bytes that are passed over several times into parts that stay in the cache meanwhile.
public enum CacheParts {
  public static let partBytes = 256 << 10

  /// - Parameter body: gets parts of `partBytes`, the last one shorter.
  public static func forEach(
    _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    for first in stride(from: 0, to: bytes.count, by: partBytes) {
      let part = first..<min(first + partBytes, bytes.count)
      try body(UnsafeRawBufferPointer(rebasing: bytes[part]))
    }
  }
}
