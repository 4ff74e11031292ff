import CKernels
import Parallel
import Support
import Tensor

/// Σ x² as an integer: free of the order of elements, threads, shards and ranks.
///
/// With 2^e ≥ max|x| each element gives floor((x·2⁻ᵉ)²·2⁶²), an integer of at most 63 bits; the
/// integers are added exactly in 128 bits. The error is below 2⁻⁶² of the largest square per
/// element. The idea is that of reproducible sums (Demmel & Nguyen 2013), with one fixed bin.
struct ExactSumOfSquares {
  /// e: every magnitude is at most 2^e.
  let exponent: Int
  private(set) var total: UInt128 = 0

  /// - Parameter largest: max|x| over all ranks, finite.
  init(largest: Float) {
    guard largest > 0 else {
      exponent = 0
      return
    }
    exponent = Int(largest.exponent) + (largest.significand == 1 ? 0 : 1)
  }

  /// Adds the elements of `x`.
  mutating func add(_ x: Tensor) {
    var start = 0
    while start < x.count {
      let range = start..<min(start + 1 << 30, x.count)
      let part = x.elements(range)
      x.engine.kernel { engine in
        let sum = ck_sum_squares(
          engine, part.count, part.dtype.kernelType, part.address, Int32(exponent))
        total += UInt128(UInt64(bitPattern: sum.hi)) << 32 + UInt128(UInt64(bitPattern: sum.lo))
      }
      start = range.upperBound
    }
  }

  /// Adds the sums of the other ranks of `group`.
  /// - Communication: four integers, so that no carry is lost.
  /// - Throws: `COMM-…`.
  mutating func combine(over group: any Communicator) throws(Fault) {
    guard group.size > 1 else { return }
    var limbs = (0..<4).map { Int64(truncatingIfNeeded: total >> UInt128(32 * $0) & 0xFFFF_FFFF) }
    try limbs.withBuffer { (buffer) throws(Fault) in try group.allReduceSum(buffer) }
    total = 0
    for (i, limb) in limbs.enumerated() { total += UInt128(UInt64(limb)) << UInt128(32 * i) }
  }

  /// The Euclidean norm.
  var norm: Double {
    let high = Double(UInt64(truncatingIfNeeded: total >> 64))
    let low = Double(UInt64(truncatingIfNeeded: total))
    let sum = high * 18_446_744_073_709_551_616 + low  // 2^64
    return Double(sign: .plus, exponent: exponent - 31, significand: sum.squareRoot())
  }
}

extension Array {
  /// `withUnsafeMutableBufferPointer` for bodies that throw a `Fault`.
  mutating func withBuffer(
    _ body: (UnsafeMutableBufferPointer<Element>) throws(Fault) -> Void
  ) throws(Fault) {
    var fault: Fault?
    withUnsafeMutableBufferPointer {
      do throws(Fault) { try body($0) } catch { fault = error }
    }
    if let fault { throw fault }
  }
}
