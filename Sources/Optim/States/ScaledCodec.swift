import CKernels
import Tensor

/// Conversions between fp32 and stored moments.
struct ScaledCodec {
  let engine: Engine

  /// fp32 scale of values whose largest magnitude is `largest`; 0 where its reciprocal would not
  /// be finite: then zeros are stored.
  static func scale(largest: Float, top: Float) -> Float {
    let scale = largest / top
    return (1 / scale).isFinite ? scale : 0
  }

  /// `target = round(source · (1/scale))`, or plainly rounded for types without a scale.
  func store(
    _ source: UnsafePointer<Float>, _ count: Int, as type: StateType, scale: Float,
    into target: UnsafeMutableRawPointer
  ) {
    guard type.top == nil || scale != 0 else {
      target.initializeMemory(as: UInt8.self, repeating: 0, count: count * type.size)
      return
    }
    engine.kernel { engine in
      switch type {
      case .float32: ck_convert(engine, count, CK_F32, source, CK_F32, target)
      case .bfloat16: ck_convert(engine, count, CK_F32, source, CK_BF16, target)
      case .float16:
        ck_to_f16(
          engine, count, source, 1 / scale, target.assumingMemoryBound(to: UInt16.self))
      case .float8:
        ck_to_f8e4m3(
          engine, count, source, 1 / scale, target.assumingMemoryBound(to: UInt8.self))
      }
    }
  }

  /// `target = source · scale`, or plainly widened.
  func load(
    _ source: UnsafeRawPointer, _ count: Int, as type: StateType, scale: Float,
    into target: UnsafeMutablePointer<Float>
  ) {
    engine.kernel { engine in
      switch type {
      case .float32: ck_convert(engine, count, CK_F32, source, CK_F32, target)
      case .bfloat16: ck_convert(engine, count, CK_BF16, source, CK_F32, target)
      case .float16:
        ck_from_f16(engine, count, source.assumingMemoryBound(to: UInt16.self), scale, target)
      case .float8:
        ck_from_f8e4m3(engine, count, source.assumingMemoryBound(to: UInt8.self), scale, target)
      }
    }
  }

  /// Cuts fp32 words into bf16 weights and 16-bit remainders.
  func split(
    _ master: UnsafePointer<Float>, _ count: Int, weight: UnsafeMutablePointer<UInt16>,
    remainder: UnsafeMutablePointer<Int16>
  ) {
    engine.kernel { ck_split_master($0, count, master, weight, remainder) }
  }

  /// Puts fp32 words together again, bit for bit.
  func join(
    _ weight: UnsafePointer<UInt16>, _ remainder: UnsafePointer<Int16>, _ count: Int,
    into master: UnsafeMutablePointer<Float>
  ) {
    engine.kernel { ck_join_master($0, count, weight, remainder, master) }
  }

  /// Largest magnitude; NaN if one is.
  func largest(_ values: UnsafePointer<Float>, _ count: Int) -> Float {
    var result: Float = 0
    engine.kernel { result = ck_absmax($0, count, CK_F32, values) }
    return result
  }
}
