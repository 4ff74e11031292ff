import Tensor

/// The names torch gives to element types and to the storages that hold them.
enum TorchTypes {
  /// `torch.<key>` as a dtype object.
  static let dtypes: [String: DType] = [
    "float32": .float32, "bfloat16": .bfloat16, "float16": .float16, "float64": .float64,
    "int64": .int64, "int32": .int32, "int16": .int16, "int8": .int8, "uint64": .uint64,
    "uint32": .uint32, "uint16": .uint16, "uint8": .uint8, "bool": .bool,
    "float8_e4m3fn": .float8e4m3, "float8_e5m2": .float8e5m2,
  ]

  /// `torch.<key>` as the class of a storage.
  static let storageClasses: [String: DType] = [
    "FloatStorage": .float32, "BFloat16Storage": .bfloat16, "HalfStorage": .float16,
    "DoubleStorage": .float64, "LongStorage": .int64, "IntStorage": .int32,
    "ShortStorage": .int16, "CharStorage": .int8, "ByteStorage": .uint8, "BoolStorage": .bool,
  ]

  static func dtypeName(_ dtype: DType) -> String {
    switch dtype {
    case .float32: return "float32"
    case .bfloat16: return "bfloat16"
    case .float16: return "float16"
    case .float64: return "float64"
    case .int64: return "int64"
    case .int32: return "int32"
    case .int16: return "int16"
    case .int8: return "int8"
    case .uint64: return "uint64"
    case .uint32: return "uint32"
    case .uint16: return "uint16"
    case .uint8: return "uint8"
    case .bool: return "bool"
    case .float8e4m3: return "float8_e4m3fn"
    case .float8e5m2: return "float8_e5m2"
    }
  }

  /// The typed storage class, or nil for the newer types that have none.
  static func storageClass(_ dtype: DType) -> String? {
    storageClasses.first { $0.value == dtype }?.key
  }
}
