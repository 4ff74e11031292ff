import CKernels
import Support

extension Tensor {
  /// Rounds every fp32 element to the nearest fp16 value (ties to even); above 65504 it becomes
  /// infinite, as fp16 has it. Works in pieces, so it needs little memory.
  /// - Throws: `MEM-001`.
  public func roundToHalf() throws(Fault) {
    precondition(dtype == .float32)
    guard !engine.isPlanning, count > 0 else { return }
    let piece = min(count, 1 << 20)
    let half = try Tensor([piece], .float16, on: engine)
    var start = 0
    while start < count {
      let n = min(piece, count - start)
      let values = pointer(as: Float.self) + start
      engine.kernel {
        ck_to_f16($0, n, values, 1, half.pointer(as: UInt16.self))
        ck_from_f16($0, n, half.pointer(as: UInt16.self), 1, values)
      }
      start += n
    }
  }
}
