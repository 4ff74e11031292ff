import CKernels
import Testing

@Suite struct OptimizerTests {
  struct State {
    let master: Buffer, param: Buffer, m: Buffer, v: Buffer, lo: Buffer
    func copy() -> State {
      State(
        master: master.copy(), param: param.copy(), m: m.copy(), v: v.copy(), lo: lo.copy())
    }
  }
  static func state(_ n: Int, _ momentType: ck_dtype, _ noise: inout Noise) -> State {
    let s = State(
      master: Buffer(CK_F32, n, &noise), param: Buffer(CK_BF16, n),
      m: Buffer(momentType, n, &noise),
      v: Buffer(momentType, n, &noise), lo: Buffer(CK_BF16, n))
    for i in 0..<n {
      s.v[i] = abs(s.v[i])
      let word = s.master[i].bitPattern
      s.lo.halves[i] = UInt16(truncatingIfNeeded: word)
      s.param.halves[i] = UInt16(truncatingIfNeeded: (word &+ 0x8000) >> 16)
    }
    return s
  }
  static func arguments(_ n: Int, _ s: State, _ grad: Buffer) -> ck_adamw_args {
    var a = ck_adamw_args()
    a.n = n
    (a.grad, a.grad_type) = (UnsafeRawPointer(grad.raw), grad.type)
    (a.m, a.m_type, a.v, a.v_type) = (s.m.raw, s.m.type, s.v.raw, s.v.type)
    (a.grad_scale, a.lr, a.beta1, a.beta2) = (0.7, 1e-2, 0.9, 0.95)
    (a.eps, a.weight_decay, a.bias1, a.bias2) = (1e-8, 0.1, 0.271, 0.142625)
    (a.param, a.param_type) = (s.param.raw, CK_BF16)
    return a
  }

  @Test("AdamW agrees with fp64, rounds its storage once, has equal bits at all levels")
  func adamw() {
    let engines = Engine.all()
    for seed in 1...8 as ClosedRange<UInt64> {
      var noise = Noise(seed: seed)
      let n = noise.int(1...200), grad = Buffer(noise.type(), n, &noise)
      let start = Self.state(n, noise.type(), &noise)
      let exact = (0..<n).map { i -> (p: Double, m: Double, v: Double) in
        let g = Double(grad[i]) * Double(Float(0.7))
        let m = Double(Float(0.9)) * Double(start.m[i]) + 0.1 * g
        let v = Double(Float(0.95)) * Double(start.v[i]) + 0.05 * g * g
        let step = m / 0.271 / ((v / 0.142625).squareRoot() + 1e-8)
        return (Double(start.master[i]) * (1 - 1e-3) - 1e-2 * step, m, v)
      }
      var first: State?
      for engine in engines {
        let s = start.copy()
        var a = Self.arguments(n, s, grad)
        (a.master_kind, a.master) = (CK_MASTER_F32, s.master.floats)
        ck_adamw(engine.handle, &a)
        #expect(s.master.error(against: exact.map(\.p)) < 1e-6, "\(engine.name) seed \(seed)")
        #expect(s.m.error(against: exact.map(\.m)) < tolerance(s.m.type))
        #expect(s.v.error(against: exact.map(\.v)) < tolerance(s.v.type))
        #expect((0..<n).allSatisfy { s.param.halves[$0] == roundToBF16(s.master[$0]) })
        if let f = first {
          #expect(s.master.sameBits(f.master) && s.m.sameBits(f.m) && s.v.sameBits(f.v))
        }
        first = first ?? s
      }
    }
  }

  @Test("the share of a new square is 1 - beta2 to the last bit, also for 0.999")
  func shareOfSquare() {
    for engine in Engine.all() {
      let s = State(
        master: Buffer(CK_F32, 1), param: Buffer(CK_BF16, 1), m: Buffer(CK_F32, 1),
        v: Buffer(CK_F32, 1), lo: Buffer(CK_BF16, 1))
      let grad = Buffer(CK_F32, 1)
      grad[0] = 1
      var a = Self.arguments(1, s, grad)
      (a.master_kind, a.master) = (CK_MASTER_F32, s.master.floats)
      (a.grad_scale, a.beta1, a.beta2) = (1, 0.9, 0.999)
      ck_adamw(engine.handle, &a)
      #expect(s.v[0] == 0.001 && s.m[0] == 0.1, "\(engine.name)")
    }
  }

  @Test("the remainder form carries the fp32 master through steps bit for bit")
  func remainder() {
    for engine in Engine.all() {
      var noise = Noise(seed: 2)
      let n = 100, grad = Buffer(CK_F32, n, &noise)
      let plain = Self.state(n, CK_F32, &noise), split = plain.copy(), joined = Buffer(CK_F32, n)
      for _ in 0..<5 {
        var a = Self.arguments(n, plain, grad)
        (a.master_kind, a.master) = (CK_MASTER_F32, plain.master.floats)
        a.param = nil
        ck_adamw(engine.handle, &a)
        split.lo.raw.withMemoryRebound(to: Int16.self, capacity: n) { low in
          var b = Self.arguments(n, split, grad)
          (b.master_kind, b.remainder) = (CK_MASTER_REMAINDER, low)
          ck_adamw(engine.handle, &b)
          ck_join_master(engine.handle, n, split.param.halves, low, joined.floats)
        }
        #expect(joined.sameBits(plain.master), "\(engine.name)")
      }
    }
  }

  @Test("SGD with momentum follows its recurrence")
  func sgd() {
    for engine in Engine.all() {
      var noise = Noise(seed: 4)
      let n = 77, grad = Buffer(CK_BF16, n, &noise), p = Buffer(CK_F32, n, &noise)
      let buf = Buffer(CK_F32, n) { _ in .nan }
      var exactP = (0..<n).map { Double(p[$0]) }
      var exactB = [Double](repeating: 0, count: n)
      for step in 0..<3 {
        ck_sgd(
          engine.handle, n, p.floats, grad.raw, CK_BF16, buf.floats, step == 0 ? 1 : 0, 0.5, 0.1,
          0.9, 0.01)
        for i in 0..<n {
          exactB[i] = 0.9 * exactB[i] + Double(grad[i]) * 0.5 + 0.01 * exactP[i]
          exactP[i] -= 0.1 * exactB[i]
        }
      }
      #expect(p.error(against: exactP) < 1e-6 && buf.error(against: exactB) < 1e-6)
      #expect(p.guardIntact && buf.guardIntact)
    }
  }

  @Test("the sum of squares is exact, so any cut of the vector gives the same integer")
  func exactSum() {
    for engine in Engine.all() {
      for type in [CK_F32, CK_BF16] {
        var noise = Noise(seed: 11)
        let n = 70_003,
          x = Buffer(type, n) { i in
            Float(sign: .plus, exponent: -(i % 40), significand: 1 + abs(noise.unit()) * 0.99)
          }
        let whole = ck_sum_squares(engine.handle, n, type, x.raw, 1)
        var hi: Int64 = 0, lo: Int64 = 0, expected: (Int64, Int64) = (0, 0)
        for (a, b) in [(0, 17), (17, 1000), (1000, n)] {
          let part = ck_sum_squares(engine.handle, b - a, type, x.at(a), 1)
          hi += part.hi
          lo += part.lo
        }
        for i in 0..<n {
          let y = Double(x[i]) * 0.5
          let t = Int64(y * y * 0x1p62)
          expected.0 += t >> 32
          expected.1 += t & 0xffff_ffff
        }
        #expect(whole.hi == hi && whole.lo == lo, "\(engine.name)")
        #expect(whole.hi == expected.0 && whole.lo == expected.1, "\(engine.name)")
        #expect(whole.lo >= 0)
      }
    }
  }

  @Test("the largest magnitude is found anywhere and a NaN wins")
  func absmax() {
    for engine in Engine.all() {
      for n in [0, 1, 17, 70_000] {
        let x = Buffer(CK_F32, n) { _ in 0.5 }
        #expect(ck_absmax(engine.handle, n, CK_F32, x.raw) == (n == 0 ? 0 : 0.5))
        guard n > 0 else { continue }
        x[n - 1] = -3
        #expect(ck_absmax(engine.handle, n, CK_F32, x.raw) == 3)
        x[n / 2] = .nan
        #expect(ck_absmax(engine.handle, n, CK_F32, x.raw).isNaN)
      }
    }
  }
}
