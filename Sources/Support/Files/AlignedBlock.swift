#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Memory whose address suits transfers past the page cache.
///
/// One owner at a time uses it; it may be handed from thread to thread.
public final class AlignedBlock: @unchecked Sendable {
  /// Addresses, offsets and counts of such transfers are multiples of it.
  public static let unit = 4096
  public let bytes: UnsafeMutableRawBufferPointer

  /// - Parameter count: bytes, a multiple of `unit`.
  public init(_ count: Int) {
    // Large pages, where the system gives them, make the first touch cheap.
    let alignment = count >= 2 << 20 ? 2 << 20 : Self.unit
    bytes = .allocate(byteCount: count, alignment: alignment)
    #if canImport(Glibc) || canImport(Musl)
      if alignment > Self.unit { madvise(bytes.baseAddress, count, Int32(MADV_HUGEPAGE)) }
    #endif
  }

  deinit { bytes.deallocate() }

  /// The multiple of `unit` at or below a place, and at or above it.
  static func down(_ value: Int) -> Int { value & ~(unit - 1) }
  static func up(_ value: Int) -> Int { (value + unit - 1) & ~(unit - 1) }
}
