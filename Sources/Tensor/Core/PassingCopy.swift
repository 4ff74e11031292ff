import CKernels

/// Copies of bytes that only pass through: the caches keep what is computed with.
package enum PassingCopy {
  /// - Parameters: target, source, count in bytes; the two share no memory.
  package static let run: @Sendable (UnsafeMutableRawPointer, UnsafeRawPointer, Int) -> Void = {
    ck_copy_past(-1, $0, $1, $2)
  }
}
