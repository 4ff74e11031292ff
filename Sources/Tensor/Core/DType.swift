/// Element type of a tensor, in memory and in files. Names follow safetensors.
public enum DType: String, Sendable, CaseIterable {
  case float32 = "F32"
  case bfloat16 = "BF16"
  case float16 = "F16"
  case float64 = "F64"
  case int64 = "I64"
  case int32 = "I32"
  case int16 = "I16"
  case int8 = "I8"
  case uint64 = "U64"
  case uint32 = "U32"
  case uint16 = "U16"
  case uint8 = "U8"
  case bool = "BOOL"
  case float8e4m3 = "F8_E4M3"
  case float8e5m2 = "F8_E5M2"

  /// Bytes of one element.
  public var size: Int {
    switch self {
    case .float64, .int64, .uint64: return 8
    case .float32, .int32, .uint32: return 4
    case .bfloat16, .float16, .int16, .uint16: return 2
    case .int8, .uint8, .bool, .float8e4m3, .float8e5m2: return 1
    }
  }
}

/// bfloat16: the upper half of a float32.
public struct BF16: Sendable, Equatable {
  public var bits: UInt16
  public init(bits: UInt16) { self.bits = bits }

  /// Rounds to nearest, ties to even; NaN stays a quiet NaN.
  public init(_ value: Float) {
    let u = value.bitPattern
    if value.isNaN {
      bits = UInt16(truncatingIfNeeded: u >> 16) | 0x40
    } else {
      bits = UInt16(truncatingIfNeeded: (u &+ 0x7FFF &+ ((u >> 16) & 1)) >> 16)
    }
  }

  public var float: Float { Float(bitPattern: UInt32(bits) << 16) }
}
