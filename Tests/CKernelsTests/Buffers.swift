import CKernels
import Testing

/// Counter-free generator for test data (xorshift); a failing case is repeated by its seed.
struct Noise {
  private var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func bits() -> UInt32 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return UInt32(truncatingIfNeeded: state >> 32)
  }
  /// Uniform in [-1, 1).
  mutating func unit() -> Float { Float(Int32(bitPattern: bits())) * 0x1p-31 }
  mutating func int(_ range: ClosedRange<Int>) -> Int {
    range.lowerBound + Int(bits() % UInt32(range.count))
  }
  mutating func coin() -> Bool { bits() & 1 == 1 }
  mutating func type() -> ck_dtype { coin() ? CK_F32 : CK_BF16 }
}

/// Elements of one type on the heap, with 64 guard bytes behind them that no kernel may touch.
final class Buffer {
  let type: ck_dtype
  let count: Int
  let raw: UnsafeMutableRawPointer
  private let guardByte: UInt8 = 0xA5
  var bytes: Int { count * (type == CK_F32 ? 4 : 2) }

  init(_ type: ck_dtype, _ count: Int, fill: (Int) -> Float = { _ in 0 }) {
    self.type = type
    self.count = count
    let size = count * (type == CK_F32 ? 4 : 2)
    raw = .allocate(byteCount: size + 64, alignment: 4)
    (raw + size).initializeMemory(as: UInt8.self, repeating: 0xA5, count: 64)
    for i in 0..<count { self[i] = fill(i) }
  }
  convenience init(_ type: ck_dtype, _ count: Int, _ noise: inout Noise) {
    var values = [Float]()
    for _ in 0..<count { values.append(noise.unit()) }
    self.init(type, count) { values[$0] }
  }
  deinit { raw.deallocate() }

  var floats: UnsafeMutablePointer<Float> { raw.assumingMemoryBound(to: Float.self) }
  var halves: UnsafeMutablePointer<UInt16> { raw.assumingMemoryBound(to: UInt16.self) }
  func at(_ i: Int) -> UnsafeMutableRawPointer { raw + i * (type == CK_F32 ? 4 : 2) }

  subscript(i: Int) -> Float {
    get { type == CK_F32 ? floats[i] : Float(bitPattern: UInt32(halves[i]) << 16) }
    set {
      if type == CK_F32 { floats[i] = newValue } else { halves[i] = roundToBF16(newValue) }
    }
  }
  func copy() -> Buffer {
    let b = Buffer(type, count)
    b.raw.copyMemory(from: raw, byteCount: bytes)
    return b
  }
  func sameBits(_ o: Buffer) -> Bool {
    bytes == o.bytes
      && UnsafeRawBufferPointer(start: raw, count: bytes).elementsEqual(
        UnsafeRawBufferPointer(start: o.raw, count: bytes))
  }
  var guardIntact: Bool {
    UnsafeRawBufferPointer(start: raw + bytes, count: 64).allSatisfy { $0 == guardByte }
  }
  /// Largest error against fp64 values, relative to the largest of them.
  func error(against exact: [Double]) -> Double {
    var worst = 0.0
    var scale = 1e-30
    for (i, x) in exact.enumerated() {
      worst = max(worst, abs(Double(self[i]) - x))
      scale = max(scale, abs(x))
    }
    return worst / scale
  }
}

/// Round to nearest even, NaN kept.
func roundToBF16(_ x: Float) -> UInt16 {
  let u = x.bitPattern
  if x.isNaN { return UInt16(u >> 16) | 0x40 }
  return UInt16((UInt64(u) + 0x7fff + UInt64((u >> 16) & 1)) >> 16)
}

/// An engine of one level and thread count.
final class Engine {
  let handle: OpaquePointer
  let name: String
  let level: ck_level
  init(_ handle: OpaquePointer, _ level: ck_level, _ threads: Int) {
    self.handle = handle
    self.level = level
    name = String(cString: ck_level_name(level)) + " x\(threads)"
  }
  deinit { ck_engine_destroy(handle) }

  static let levels: [ck_level] = [CK_PORTABLE, CK_AVX2, CK_AVX512, CK_AVX512BF16]
  /// Every level of this machine, with one and with three threads; portable first.
  static func all(threads: [Int] = [1, 3]) -> [Engine] {
    levels.flatMap { level in
      threads.compactMap { count in
        ck_engine_create(Int32(count), 0, Int32(bitPattern: level.rawValue)).map {
          Engine($0, level, count)
        }
      }
    }
  }
}

/// Tolerance of one rounding to the type plus a short fp32 computation.
func tolerance(_ type: ck_dtype) -> Double { type == CK_F32 ? 2e-6 : 6e-3 }
