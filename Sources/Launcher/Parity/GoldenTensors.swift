import Checkpoint
import Foundation
import Support
import Tensor

/// A small safetensors file in memory, values widened.
struct GoldenTensors {
  let path: String
  private let file: SafetensorsFile

  /// - Returns: nil when the folder has no such file.
  /// - Throws: what reading throws.
  init?(_ folder: String, _ name: String) throws(Fault) {
    path = folder + "/" + name
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    file = try SafetensorsFile(path)
  }

  var names: [String] { file.tensors.map(\.name) }
  func has(_ name: String) -> Bool { file[name] != nil }
  func shape(_ name: String) -> [Int] { file[name]?.shape ?? [] }

  /// - Throws: `CKPT-103` for a missing name, `MODEL-103` for another type.
  func floats(_ name: String) throws(Fault) -> [Float] {
    let bytes = try file.bytes(name)
    let dtype = file[name]?.dtype
    switch dtype {
    case .float32: return bytes.elements(of: Float.self)
    case .bfloat16: return bytes.elements(of: UInt16.self).map { BF16(bits: $0).float }
    case .bool, .uint8: return bytes.map { $0 == 0 ? 0 : 1 }
    default:
      throw Fault(
        .badModelWeights, "\(name) is \(dtype?.rawValue ?? "missing")",
        at: .tensor(name, file: path), expected: "F32 or BF16")
    }
  }

  func integers(_ name: String) throws(Fault) -> [Int] {
    let bytes = try file.bytes(name)
    switch file[name]?.dtype {
    case .int64: return bytes.elements(of: Int64.self).map { Int($0) }
    case .int32: return bytes.elements(of: Int32.self).map { Int($0) }
    case .bool, .uint8: return bytes.map { Int($0) }
    default:
      throw Fault(
        .badModelWeights, "\(name) holds no whole numbers", at: .tensor(name, file: path),
        expected: "I64 or I32")
    }
  }

  func int32(_ name: String) throws(Fault) -> [Int32] { try integers(name).map { Int32($0) } }
}

extension [UInt8] {
  /// The bytes as values of a plain type; a rest shorter than one is left out.
  func elements<T: BitwiseCopyable>(of type: T.Type) -> [T] {
    let count = self.count / MemoryLayout<T>.size
    return [T](unsafeUninitializedCapacity: count) { target, initialized in
      withUnsafeBytes { source in
        UnsafeMutableRawBufferPointer(target).copyMemory(
          from: UnsafeRawBufferPointer(
            rebasing: source[..<(count * MemoryLayout<T>.size)]))
      }
      initialized = count
    }
  }
}
