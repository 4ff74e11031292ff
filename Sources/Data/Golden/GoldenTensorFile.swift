import Foundation
import Support

/// Tensors that a golden JSON file keeps beside it, in a small safetensors file.
struct GoldenTensorFile {
  let path: String
  private let bytes: [UInt8]
  private let header: JSONValue
  private let start: Int

  /// - Throws: `FILE-001` if it is missing, `DATA-101` if it cannot be read.
  init(_ path: String) throws(Fault) {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw Fault(.missingFile, "the golden tensors do not exist", at: .file(path))
    }
    self.path = path
    bytes = [UInt8](data)
    let length = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    guard bytes.count > 8, length > 0, length <= bytes.count - 8 else {
      throw Fault(.badDataFile, "the golden tensors have no header", at: .file(path))
    }
    start = 8 + length
    header = try parseJSON(Array(bytes[8..<start]), path: path, firstLine: 1)
  }

  private func range(_ name: String, _ type: String) -> Range<Int>? {
    guard let entry = header[name], entry["dtype"]?.string == type,
      let offsets = entry["data_offsets"]?.ints, offsets.count == 2, offsets[0] >= 0,
      offsets[0] <= offsets[1], start + offsets[1] <= bytes.count
    else { return nil }
    return start + offsets[0]..<start + offsets[1]
  }

  func bytes(_ name: String) -> [UInt8]? { range(name, "U8").map { Array(bytes[$0]) } }

  func floats(_ name: String) -> [Float]? {
    range(name, "F32").map { place in
      bytes.withUnsafeBytes { raw in
        stride(from: place.lowerBound, to: place.upperBound, by: 4).map {
          Float(bitPattern: raw.loadUnaligned(fromByteOffset: $0, as: UInt32.self))
        }
      }
    }
  }
}
