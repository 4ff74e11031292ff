import Foundation
import Support
import Testing

/// Stored reference values: those beside the tests, or a full set named by `MEGATRON_GOLDENS`.
enum Reference {
  private static var folder: String {
    if let full = ProcessInfo.processInfo.environment["MEGATRON_GOLDENS"] {
      return full + "/training"
    }
    return fixtures
  }
  static var fixtures: String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().path + "/Fixtures"
  }

  static func json(_ name: String, in folder: String? = nil) throws -> JSONValue {
    let path = "\(folder ?? Reference.folder)/\(name).json"
    return try JSONValue.parse(String(contentsOfFile: path, encoding: .utf8))
  }

  static func tensors(_ name: String) throws -> StoredTensors {
    try StoredTensors("\(Reference.folder)/\(name).safetensors")
  }
}

/// A small safetensors file in memory, read for tests only.
struct StoredTensors {
  private let bytes: [UInt8]
  private let header: JSONObject
  private let start: Int

  init(_ path: String) throws {
    bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    var length = 0
    for i in 0..<8 { length |= Int(bytes[i]) << (8 * i) }
    let text = String(decoding: bytes[8..<8 + length], as: UTF8.self)
    header = try #require(try JSONValue.parse(text).object)
    start = 8 + length
  }

  private func elements<T>(_ name: String, _ type: T.Type) throws -> [T] {
    let places = header[name]?["data_offsets"]?.array ?? []
    let offsets = places.compactMap(\.int)
    try #require(offsets.count == 2, "no tensor \(name)")
    return Array(bytes[start + offsets[0]..<start + offsets[1]]).withUnsafeBytes { raw in
      (0..<raw.count / MemoryLayout<T>.size).map { i in
        raw.loadUnaligned(fromByteOffset: i * MemoryLayout<T>.size, as: T.self)
      }
    }
  }

  func floats(_ name: String) throws -> [Float] { try elements(name, Float.self) }
  func int32(_ name: String) throws -> [Int32] { try elements(name, Int32.self) }
  func int64(_ name: String) throws -> [Int64] { try elements(name, Int64.self) }
  func int16(_ name: String) throws -> [Int16] { try elements(name, Int16.self) }
}

/// Largest |a − b| / max(|b|, floor).
func largestError(_ a: [Float], _ b: [Float], floor: Float = 1e-30) -> Float {
  guard a.count == b.count else { return .infinity }
  return zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1) / max(abs($1.1), floor)) }
}

func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }
