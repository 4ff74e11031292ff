import CKernels
import Testing

@Suite struct VisionTests {
  @Test("LayerNorm and its backward agree with fp64, with equal bits at all levels and threads")
  func layernorm() {
    let engines = Engine.all()
    for seed in 1...12 as ClosedRange<UInt64> {
      var noise = Noise(seed: seed)
      let type = noise.type(), rows = noise.int(0...40), n = noise.int(1...150)
      let x = Buffer(type, rows * n, &noise), w = Buffer(type, n, &noise)
      let b = Buffer(type, n, &noise), dy = Buffer(type, rows * n, &noise)
      var y = [Double](repeating: 0, count: rows * n)
      var dx = y
      var dw = [Double](repeating: 0, count: n)
      var db = dw
      ck_reference_layernorm(type, rows, n, x.raw, w.raw, b.raw, 1e-4, &y)
      ck_reference_layernorm_backward(type, rows, n, x.raw, w.raw, 1e-4, dy.raw, &dx, &dw, &db)
      var first: [Buffer] = []
      for engine in engines {
        let out = Buffer(type, rows * n), dxo = Buffer(type, rows * n)
        let mean = Buffer(CK_F32, rows), r = Buffer(CK_F32, rows)
        let dwo = Buffer(CK_F32, n) { _ in .nan }, dbo = Buffer(CK_F32, n) { _ in .nan }
        ck_layernorm_forward(
          engine.handle, type, rows, n, x.raw, w.raw, b.raw, 1e-4, out.raw, mean.floats, r.floats)
        ck_layernorm_backward(
          engine.handle, type, rows, n, x.raw, w.raw, mean.floats, r.floats, dy.raw, dxo.raw,
          dwo.floats, dbo.floats)
        #expect(out.error(against: y) < tolerance(type), "\(engine.name) seed \(seed)")
        // Rows of one or two elements cancel: their gradient is what rounding leaves.
        if n > 2 {
          #expect(dxo.error(against: dx) < 4 * tolerance(type), "\(engine.name) seed \(seed)")
        }
        if rows > 0 {
          #expect(dwo.error(against: dw) < 1e-5, "\(engine.name) seed \(seed)")
          #expect(dbo.error(against: db) < 1e-5, "\(engine.name) seed \(seed)")
        }
        let all = [out, dxo, mean, r, dwo, dbo]
        for (a, b) in zip(first, all) { #expect(a.sameBits(b), "\(engine.name) seed \(seed)") }
        if first.isEmpty { first = all }
        #expect(all.allSatisfy { $0.guardIntact })
      }
    }
  }

  @Test("both forms of GELU and their slopes agree with fp64 over the whole range")
  func gelu() {
    let engines = Engine.all()
    let count = 4003
    let x = Buffer(CK_F32, count) { Float($0 - 2000) * 0.006 }
    let ones = Buffer(CK_F32, count) { _ in 1 }
    for form in [CK_GELU_TANH, CK_GELU_ERF] {
      var first: [Buffer] = []
      for engine in engines {
        let y = Buffer(CK_F32, count), dx = Buffer(CK_F32, count)
        ck_gelu_forward(engine.handle, form, CK_F32, count, x.raw, y.raw)
        ck_gelu_backward(engine.handle, form, CK_F32, count, x.raw, ones.raw, dx.raw)
        var (worst, worstSlope) = (0.0, 0.0)
        for i in 0..<count {
          let at = Double(x[i])
          let (value, slope) = (ck_reference_gelu(form, at), ck_reference_gelu_slope(form, at))
          worst = max(worst, abs(Double(y[i]) - value) / max(abs(value), 0.05))
          worstSlope = max(worstSlope, abs(Double(dx[i]) - slope) / max(abs(slope), 0.1))
        }
        #expect(worst < 4e-7, "\(engine.name) \(form)")
        // 1 − s cancels where the slope nears 1.
        #expect(worstSlope < 2e-6, "\(engine.name) \(form)")
        for (a, b) in zip(first, [y, dx]) { #expect(a.sameBits(b), "\(engine.name)") }
        if first.isEmpty { first = [y, dx] }
        #expect(y.guardIntact && dx.guardIntact)
      }
    }
  }

  @Test("GELU keeps NaN and does not overflow far out") func geluLimits() {
    for engine in Engine.all() {
      let x = Buffer(CK_F32, 5) { [Float.nan, 1e30, -1e30, 0, .infinity][$0] }
      let y = Buffer(CK_F32, 5)
      for form in [CK_GELU_TANH, CK_GELU_ERF] {
        ck_gelu_forward(engine.handle, form, CK_F32, 5, x.raw, y.raw)
        #expect(y[0].isNaN && y[1] == 1e30 && y[2] == 0 && y[3] == 0 && y[4] == .infinity)
      }
    }
  }
}
