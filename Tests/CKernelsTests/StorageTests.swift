import CKernels
import Testing

@Suite struct StorageTests {
  /// Values of every kind: normal, tiny, huge, ties, infinities.
  static func values(_ n: Int, seed: UInt64) -> Buffer {
    var noise = Noise(seed: seed)
    let x = Buffer(CK_F32, n)
    for i in 0..<n { x[i] = Float(bitPattern: noise.bits()) }
    for i in 0..<n where x[i].isNaN { x[i] = noise.unit() }
    let special: [Float] = [0, -0.0, .infinity, 0x1p-149, 0x1.01p-130, 65504, 448, 0x1.008p0]
    for (i, v) in special.enumerated() where i < n { x[i] = v }
    return x
  }

  @Test("fp32 to bf16 rounds to nearest even, denormals included, and back is exact")
  func bf16() {
    for engine in Engine.all() {
      for n in [0, 1, 15, 16, 33, 1000] {
        let x = Self.values(n, seed: 5)
        if n > 20 { x[20] = .nan }
        let y = Buffer(CK_BF16, n), back = Buffer(CK_F32, n)
        ck_convert(engine.handle, n, CK_F32, x.raw, CK_BF16, y.raw)
        ck_convert(engine.handle, n, CK_BF16, y.raw, CK_F32, back.raw)
        for i in 0..<n {
          #expect(y.halves[i] == roundToBF16(x[i]), "\(engine.name) \(x[i])")
          #expect(back[i].bitPattern == UInt32(y.halves[i]) << 16)
        }
        #expect(y.guardIntact && back.guardIntact)
      }
    }
  }

  @Test("sums of mixed types round once; accumulate, scale and fill do what they say")
  func maps() {
    for engine in Engine.all() {
      for seed in 1...6 as ClosedRange<UInt64> {
        var noise = Noise(seed: seed)
        let n = noise.int(0...300)
        let a = Buffer(noise.type(), n, &noise), b = Buffer(noise.type(), n, &noise)
        let out = Buffer(noise.type(), n), expected = Buffer(out.type, n) { a[$0] + b[$0] }
        ck_add(engine.handle, n, a.type, a.raw, b.type, b.raw, out.type, out.raw)
        #expect(out.sameBits(expected) && out.guardIntact, "\(engine.name) seed \(seed)")
        let x = Buffer(CK_F32, n, &noise), y = Buffer(CK_F32, n, &noise)
        let sum = Buffer(CK_F32, n) { (x[$0] + y[$0]) * 0.3 }
        ck_accumulate(engine.handle, n, x.floats, y.floats)
        ck_scale(engine.handle, n, 0.3, y.floats)
        #expect(y.sameBits(sum) && y.guardIntact)
        ck_fill(engine.handle, n, -2, y.floats)
        #expect((0..<n).allSatisfy { y[$0] == -2 } && y.guardIntact)
      }
    }
  }

  @Test("bf16 weight and 16-bit remainder hold the fp32 word exactly, weight rounded to nearest")
  func splitMaster() {
    for engine in Engine.all() {
      let n = 1003, x = Self.values(n, seed: 8), back = Buffer(CK_F32, n)
      let hi = Buffer(CK_BF16, n), lo = Buffer(CK_BF16, n)
      lo.raw.withMemoryRebound(to: Int16.self, capacity: n) { low in
        ck_split_master(engine.handle, n, x.floats, hi.halves, low)
        ck_join_master(engine.handle, n, hi.halves, low, back.floats)
        for i in 0..<n where x[i].isFinite {
          let u = x[i].bitPattern, l = Int16(truncatingIfNeeded: u)
          #expect(hi.halves[i] == UInt16(truncatingIfNeeded: u >> 16) &+ (l < 0 ? 1 : 0))
          #expect(low[i] == l)
        }
      }
      #expect(back.sameBits(x), "\(engine.name)")
    }
  }

  @Test("fp16 storage agrees with Float16 on every kind of value and reads back every code")
  func f16() {
    for engine in Engine.all() {
      let n = 4000, x = Self.values(n, seed: 3)
      for i in 40..<n {
        x[i] = Float(sign: .plus, exponent: -26 + i % 44, significand: x[i].significand)
      }
      x[9] = .nan
      let y = Buffer(CK_BF16, n)
      ck_to_f16(engine.handle, n, x.floats, 0.5, y.halves)
      for i in 0..<n where i != 9 {
        #expect(y.halves[i] == Float16(x[i] * 0.5).bitPattern, "\(engine.name) \(x[i])")
      }
      #expect(Float16(bitPattern: y.halves[9]).isNaN)
      let codes = Buffer(CK_BF16, 65536), back = Buffer(CK_F32, 65536)
      for i in 0..<65536 { codes.halves[i] = UInt16(i) }
      ck_from_f16(engine.handle, 65536, codes.halves, 2, back.floats)
      let wrong = (0..<65536).filter { i in
        let exact = Float(Float16(bitPattern: UInt16(i)))
        return exact.isNaN ? !back[i].isNaN : back[i] != exact * 2
      }
      #expect(wrong.isEmpty, "\(engine.name) \(wrong.prefix(5))")
    }
  }

  @Test("fp8 storage rounds to the nearest of its 253 numbers, ties to even, and saturates")
  func f8() {
    func value(_ code: Int) -> Float {
      let e = code >> 3 & 15, m = Float(code & 7)
      if code & 127 == 127 { return .nan }
      let magnitude =
        e == 0 ? m * 0x1p-9 : Float(sign: .plus, exponent: e - 7, significand: 1 + m / 8)
      return code & 128 != 0 ? -magnitude : magnitude
    }
    for engine in Engine.all() {
      let n = 3000
      var noise = Noise(seed: 6)
      let x = Buffer(CK_F32, n) { i in
        Float(sign: .plus, exponent: -12 + i % 22, significand: 1 + abs(noise.unit()))
          * (i % 3 == 0 ? -1 : 1)
      }
      let special: [Float] = [0, -0.0, 447, 449, 1e9, -.infinity, 0x1p-10, 0x1.8p-9, 17, 18]
      for (i, v) in special.enumerated() { x[i] = v }
      x[10] = .nan
      let y = UnsafeMutablePointer<UInt8>.allocate(capacity: n)
      defer { y.deallocate() }
      ck_to_f8e4m3(engine.handle, n, x.floats, 1, y)
      for i in 0..<n where i != 10 {
        let best = (0..<127).min { a, b -> Bool in
          let da = abs(value(a) - abs(x[i])), db = abs(value(b) - abs(x[i]))
          return da != db ? da < db : a & 1 < b & 1
        }
        let expected = x[i].magnitude.isInfinite ? 126 : best
        #expect(Int(y[i] & 127) == expected, "\(engine.name) \(x[i])")
        #expect((y[i] & 128 != 0) == (x[i].sign == .minus))
      }
      #expect(y[10] & 127 == 127)
      let codes = (0..<256).map { UInt8($0) }, back = Buffer(CK_F32, 256)
      ck_from_f8e4m3(engine.handle, 256, codes, 0.5, back.floats)
      for i in 0..<256 {
        #expect(value(i).isNaN ? back[i].isNaN : back[i] == value(i) * 0.5, "\(engine.name) \(i)")
      }
    }
  }
}
