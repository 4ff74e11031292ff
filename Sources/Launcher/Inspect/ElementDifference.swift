import Foundation
import Support
import Tensor

/// How the elements of two tensors of one shape differ.
struct ElementDifference {
  /// Elements that differ in value or, for one type, in bits.
  private(set) var count = 0
  /// max |a − b|; NaN when one side alone is NaN somewhere.
  private(set) var largest = 0.0
  /// The first of them.
  private(set) var first: Int?
  private var seen = 0

  /// Adds as many elements of both as are given.
  mutating func add(
    _ a: UnsafeRawBufferPointer, _ x: DType, _ b: UnsafeRawBufferPointer, _ y: DType
  ) {
    let elements = a.count / x.size
    defer { seen += elements }
    if x == y, a.count == b.count, let p = a.baseAddress, let q = b.baseAddress,
      memcmp(p, q, a.count) == 0
    {
      return
    }
    for i in 0..<elements {
      if x == y, Self.sameBytes(a, b, i, x.size) { continue }
      let (p, q) = (Self.number(a, i, x), Self.number(b, i, y))
      if x != y, p == q || (p.isNaN && q.isNaN) { continue }
      count += 1
      if first == nil { first = seen + i }
      if p.isNaN != q.isNaN { largest = .nan }
      if !largest.isNaN, !p.isNaN { largest = max(largest, abs(p - q)) }
    }
  }

  private static func sameBytes(
    _ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer, _ i: Int, _ size: Int
  ) -> Bool {
    (i * size..<(i + 1) * size).allSatisfy { a[$0] == b[$0] }
  }

  private static func number(_ raw: UnsafeRawBufferPointer, _ i: Int, _ type: DType) -> Double {
    func load<T: BitwiseCopyable>(_: T.Type) -> T {
      raw.loadUnaligned(fromByteOffset: i * MemoryLayout<T>.size, as: T.self)
    }
    switch type {
    case .float64: return load(Double.self)
    case .float32: return Double(load(Float.self))
    case .bfloat16: return Double(BF16(bits: load(UInt16.self)).float)
    case .float16: return Double(Float16(bitPattern: load(UInt16.self)))
    case .int64: return Double(load(Int64.self))
    case .int32: return Double(load(Int32.self))
    case .int16: return Double(load(Int16.self))
    case .int8: return Double(load(Int8.self))
    case .uint64: return Double(load(UInt64.self))
    case .uint32: return Double(load(UInt32.self))
    case .uint16: return Double(load(UInt16.self))
    case .uint8, .bool, .float8e4m3, .float8e5m2: return Double(load(UInt8.self))
    }
  }
}
