import CKernels
import Support
import Tensor

/// Elements in another float type. Equal types pass unchanged, byte for byte.
final class ElementCast {
  private let engine: Engine
  /// Finite values that became infinite on the way to fp16.
  private(set) var overflows = 0

  init(engine: Engine) { self.engine = engine }

  /// Converts bytes on their way somewhere, in parts that stay in the cache.
  /// - Throws: `MODEL-103` for types that are no weights; what `emit` throws.
  func pass(
    _ bytes: UnsafeRawBufferPointer, _ from: DType, _ to: DType,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    if from == to { return try emit(bytes) }
    try CacheParts.forEach(bytes) { (part) throws(Fault) in try convert(part, from, to, emit) }
  }

  /// Converts bytes and hands them on in one part.
  /// - Throws: `MODEL-103` for types that are no weights; what `emit` throws.
  func convert(
    _ bytes: UnsafeRawBufferPointer, _ from: DType, _ to: DType,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    if from == to { return try emit(bytes) }
    let count = bytes.count / from.size
    guard count > 0, let base = bytes.baseAddress else { return }
    let wide = try Tensor([count], .float32, on: engine)
    try widen(base, from, into: wide)
    switch to {
    case .float32: try emit(UnsafeRawBufferPointer(wide.bytes))
    case .bfloat16:
      try emit(UnsafeRawBufferPointer(try wide.converted(to: .bfloat16).bytes))
    case .float16:
      let half = try Tensor([count], .float16, on: engine)
      engine.kernel {
        ck_to_f16($0, count, wide.pointer(as: Float.self), 1, half.pointer(as: UInt16.self))
      }
      let words = UnsafeBufferPointer(start: half.pointer(as: UInt16.self), count: count)
      overflows += zip(words, wide.floats).count { $0 & 0x7FFF == 0x7C00 && $1.isFinite }
      try emit(UnsafeRawBufferPointer(half.bytes))
    default: throw unsupported(to)
    }
  }

  private func widen(_ base: UnsafeRawPointer, _ from: DType, into wide: Tensor) throws(Fault) {
    let count = wide.count
    switch from {
    case .float32:
      wide.bytes.copyMemory(from: UnsafeRawBufferPointer(start: base, count: 4 * count))
    case .bfloat16:
      engine.kernel {
        ck_convert($0, count, CK_BF16, base, CK_F32, wide.address)
      }
    case .float16:
      engine.kernel {
        ck_from_f16(
          $0, count, base.assumingMemoryBound(to: UInt16.self), 1, wide.pointer(as: Float.self))
      }
    default: throw unsupported(from)
    }
  }

  private func unsupported(_ type: DType) -> Fault {
    Fault(
      .badModelWeights, "weights of type \(type.rawValue) cannot be converted",
      expected: "F32, BF16 or F16")
  }
}

extension ModelFlags.TorchDType {
  var dtype: DType {
    switch self {
    case .bfloat16: return .bfloat16
    case .float16: return .float16
    case .float32: return .float32
    }
  }
}
