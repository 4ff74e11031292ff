import CKernels
import Testing

@Suite struct MoveTests {
  @Test("rows and columns are exchanged bit for bit in any shape, at any address, with any strides")
  func shapes() {
    for level in [CK_PORTABLE, CK_AVX2, CK_AVX512, CK_AVX512BF16]
    where ck_level_available(level) != 0 {
      for seed in 1...60 {
        var noise = Noise(seed: UInt64(seed))
        let size = [1, 2, 4, 8][noise.int(0...3)]
        // Below, at and above the sides of squares (8 to 32), and several of them.
        let rows = noise.int(0...3) == 0 ? noise.int(0...9) : noise.int(1...140)
        let columns = noise.int(0...3) == 0 ? noise.int(0...9) : noise.int(1...140)
        let (ldx, ldy) = (columns + noise.int(0...5), rows + noise.int(0...5))
        let (shiftX, shiftY) = (noise.int(0...7), noise.int(0...7))
        let x = (0..<(rows * ldx * size + 8)).map { _ in UInt8(truncatingIfNeeded: noise.bits()) }
        let empty = [UInt8](repeating: 0xA5, count: columns * ldy * size + 72)
        var (y, expected) = (empty, empty)
        x.withUnsafeBytes { x in
          let from = x.baseAddress! + shiftX
          y.withUnsafeMutableBytes {
            ck_transpose(
              Int32(level.rawValue), Int32(size), rows, columns, from, ldx,
              $0.baseAddress! + shiftY, ldy)
          }
          expected.withUnsafeMutableBytes {
            ck_reference_transpose(
              Int32(size), rows, columns, from, ldx, $0.baseAddress! + shiftY, ldy)
          }
        }
        #expect(
          y == expected,
          "\(String(cString: ck_level_name(level))), seed \(seed): \(rows) x \(columns) of \(size)")
      }
    }
  }

  @Test("a copy past the caches gives all bytes and no other, at any address and of any length")
  func copies() {
    for level in [CK_PORTABLE, CK_AVX2, CK_AVX512] where ck_level_available(level) != 0 {
      var noise = Noise(seed: 9)
      let x = (0..<20_000).map { _ in UInt8(truncatingIfNeeded: noise.bits()) }
      for _ in 0..<40 {
        let count = noise.int(0...2) == 0 ? noise.int(0...130) : noise.int(4000...19_000)
        let (from, to) = (noise.int(0...200), noise.int(0...200))
        var y = [UInt8](repeating: 0xA5, count: 20_000)
        let expected =
          y[..<to] + x[from..<from + count] + y[(to + count)...]
        x.withUnsafeBytes { x in
          y.withUnsafeMutableBytes {
            ck_copy_past(
              Int32(level.rawValue), $0.baseAddress! + to, x.baseAddress! + from, count)
          }
        }
        #expect(y[...] == expected, "\(String(cString: ck_level_name(level))), \(count) bytes")
      }
    }
  }
}
