import Glibc
import Support
import Tensor

/// Memory aligned for direct transfers.
///
/// Unchecked: a block is handed from reader to caller to writer, never shared.
final class AlignedMemory: @unchecked Sendable {
  let bytes: UnsafeMutableRawBufferPointer

  /// - Throws: `MEM-001`.
  init(_ byteCount: Int) throws(Fault) {
    let count = max(byteCount, 1).rounded(upTo: OffloadFile.alignment)
    guard let address = aligned_alloc(OffloadFile.alignment, count) else {
      throw Fault(.outOfMemory, "the system refused \(count) bytes for offload buffers")
    }
    bytes = UnsafeMutableRawBufferPointer(start: address, count: count)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit { free(bytes.baseAddress) }

  func prefix(_ count: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: bytes[0..<count])
  }
}
