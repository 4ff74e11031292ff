import Foundation
import Parallel
import Support
import Tensor
import Testing

/// Stored results of the reference: those beside the tests, or a full set named by
/// `MEGATRON_GOLDENS`.
enum Golden {
  private static var folder: String {
    if let full = ProcessInfo.processInfo.environment["MEGATRON_GOLDENS"] {
      return full + "/training"
    }
    let here = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    return here.appending(path: "Fixtures").path
  }

  static func json(_ name: String) throws -> JSONValue {
    try JSONValue.parse(String(contentsOfFile: "\(folder)/\(name).json", encoding: .utf8))
  }

  static func cases(_ name: String, list: String = "cases") throws -> [GoldenCase] {
    try #require(json(name)[list]?.array).map { GoldenCase(json: $0) }
  }

  static func tensors(_ name: String) throws -> GoldenTensors {
    try GoldenTensors(path: "\(folder)/\(name).safetensors")
  }
}

/// The members of one stored case.
struct GoldenCase: Sendable {
  let json: JSONValue

  func has(_ key: String) -> Bool { json[key].map { !$0.isNull } ?? false }
  func int(_ key: String) throws -> Int { try #require(json[key]?.int, "\(key)") }
  func flag(_ key: String) throws -> Bool { try #require(json[key]?.bool as Bool?, "\(key)") }
  func text(_ key: String) throws -> String { try #require(json[key]?.string, "\(key)") }
  func double(_ key: String) throws -> Double { try #require(json[key]?.double, "\(key)") }
  /// Nil for a null or missing member.
  func optional(_ key: String) -> Double? { json[key]?.double }
  func ints(_ key: String) throws -> [Int] {
    let list = try #require(json[key]?.array, "\(key)")
    return list.compactMap(\.int)
  }
}

/// A small safetensors file in memory, read for tests only.
struct GoldenTensors: Sendable {
  private let bytes: [UInt8]
  private let header: JSONObject
  private let start: Int

  init(path: String) throws {
    let bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
    let length = (0..<8).reduce(0) { $0 | Int(bytes[$1]) << (8 * $1) }
    let text = String(decoding: bytes[8..<8 + length], as: UTF8.self)
    header = try #require(try JSONValue.parse(text).object)
    start = 8 + length
    self.bytes = bytes
  }

  private func raw(_ name: String) throws -> ArraySlice<UInt8> {
    let range = try #require(header[name]?["data_offsets"]?.array, "no tensor \(name)")
    let offsets = range.compactMap(\.int)
    return bytes[start + offsets[0]..<start + offsets[1]]
  }

  private func words<T>(_ name: String, _ type: T.Type) throws -> [T] {
    Array(try raw(name)).withUnsafeBytes { raw in
      (0..<raw.count / MemoryLayout<T>.size).map {
        raw.loadUnaligned(fromByteOffset: $0 * MemoryLayout<T>.size, as: T.self)
      }
    }
  }

  /// The elements of a tensor of floats of any width.
  func floats(_ name: String) throws -> [Float] {
    switch header[name]?["dtype"]?.string {
    case "BF16": return try words(name, UInt16.self).map { BF16(bits: $0).float }
    case "F16": return try words(name, Float16.self).map(Float.init)
    default: return try words(name, Float.self)
    }
  }
  func bools(_ name: String) throws -> [Bool] { try raw(name).map { $0 != 0 } }
  func int32(_ name: String) throws -> [Int32] { try words(name, Int64.self).map(Int32.init) }
}

/// Largest |a − b| / max(1, |b|); infinite for other lengths and for NaN.
func difference(_ a: [Float], _ b: [Float]) -> Float {
  guard a.count == b.count else { return .infinity }
  var worst: Float = 0
  for (x, y) in zip(a, b) {
    let error = abs(x - y) / max(1, abs(y))
    if error.isNaN { return .infinity }
    worst = max(worst, error)
  }
  return worst
}

/// Columns `range` of a row-major matrix of `width` columns.
func columns(_ values: [Float], width: Int, _ range: Range<Int>) -> [Float] {
  stride(from: 0, to: values.count, by: width).flatMap {
    values[$0 + range.lowerBound..<$0 + range.upperBound]
  }
}

/// Matrices of equal shape beside each other.
func beside(_ parts: [[Float]], width: Int) -> [Float] {
  guard let first = parts.first else { return [] }
  return (0..<first.count / width).flatMap { row in
    parts.flatMap { $0[row * width..<(row + 1) * width] }
  }
}

extension Setting {
  /// One document of `tokens` rows.
  /// - Parameter sequenceParallel: over the ranks of `tp`.
  static func test(
    tokens: Int, on engine: Engine, groups: ModelGroups? = nil, sequenceParallel: Bool = false
  ) throws(Fault) -> Setting {
    let alone = SelfWorld(label: "self")
    return Setting(
      engine: engine, groups: groups ?? ModelGroups(tp: alone, ep: alone, etp: alone),
      sequenceParallel: sequenceParallel,
      layout: try SequenceLayout(starts: [0, Int32(tokens)], realTokens: tokens, on: engine))
  }
}

extension Parameter {
  /// A parameter with this rank's part of `whole` and a gradient of zeros.
  static func test(
    _ name: String, _ slices: ParameterSlices, _ whole: [Float], dtype: DType = .float32,
    on engine: Engine
  ) throws(Fault) -> Parameter {
    let parameter = try Parameter(name, slices, dtype, on: engine)
    var values = [Float](repeating: 0, count: parameter.count)
    slices.forEach { values[$0] = whole[$1] }
    parameter.tensor = try Tensor(values, slices.localShape, dtype, on: engine)
    parameter.gradient = try Tensor.zeros(slices.localShape, .float32, on: engine)
    return parameter
  }

  var gradientValues: [Float] { gradient?.values ?? [] }
}

extension ParameterSlices {
  /// Calls `body` with the local and the global place of every element of a matrix.
  func forEach(_ body: (_ local: Int, _ global: Int) -> Void) {
    let width = globalShape.dropFirst().reduce(1, *)
    let localWidth = localShape.dropFirst().reduce(1, *)
    for run in runs {
      for r in 0..<(dim == 0 ? run.count : localShape[0]) {
        for c in 0..<(dim == 0 ? localWidth : run.count) {
          if dim == 0 {
            body((run.local + r) * localWidth + c, (run.global + r) * width + c)
          } else {
            body(r * localWidth + run.local + c, r * width + run.global + c)
          }
        }
      }
    }
  }
}
