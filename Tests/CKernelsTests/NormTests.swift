import CKernels
import Testing

@Suite struct NormTests {
  @Test("RMSNorm and its backward agree with fp64, with equal bits at all levels and threads")
  func rmsnorm() {
    let engines = Engine.all()
    for seed in 1...12 as ClosedRange<UInt64> {
      var noise = Noise(seed: seed)
      let type = noise.type(), rows = noise.int(0...40), n = noise.int(1...150)
      let part = noise.int(1...12), parts = (rows + part - 1) / part
      let x = Buffer(type, rows * n, &noise), w = Buffer(type, n, &noise)
      let dy = Buffer(type, rows * n, &noise)
      var y = [Double](repeating: 0, count: rows * n)
      var dx = y
      var dw = [Double](repeating: 0, count: n)
      ck_reference_rmsnorm(type, rows, n, x.raw, w.raw, 1e-6, &y)
      ck_reference_rmsnorm_backward(type, rows, n, x.raw, w.raw, 1e-6, dy.raw, &dx, &dw)
      var first: [Buffer] = []
      for engine in engines {
        let out = Buffer(type, rows * n), r = Buffer(CK_F32, rows), dxo = Buffer(type, rows * n)
        let dwo = Buffer(CK_F32, parts * n) { _ in .nan }
        ck_rmsnorm_forward(engine.handle, type, rows, n, x.raw, w.raw, 1e-6, out.raw, r.floats)
        ck_rmsnorm_backward(
          engine.handle, type, rows, n, x.raw, w.raw, r.floats, dy.raw, dxo.raw, dwo.floats, part)
        #expect(out.error(against: y) < tolerance(type), "\(engine.name) seed \(seed)")
        #expect(dxo.error(against: dx) < tolerance(type), "\(engine.name) seed \(seed)")
        let sum = Buffer(CK_F32, n) { j in (0..<parts).reduce(0) { $0 + dwo[$1 * n + j] } }
        if rows > 0 { #expect(sum.error(against: dw) < 1e-5, "\(engine.name) seed \(seed)") }
        for (a, b) in zip(first, [out, r, dxo, dwo]) {
          #expect(a.sameBits(b), "\(engine.name) seed \(seed)")
        }
        if first.isEmpty { first = [out, r, dxo, dwo] }
        #expect([out, r, dxo, dwo].allSatisfy { $0.guardIntact })
      }
    }
  }

  @Test("QK-norm with rotary embedding and its backward agree with fp64 and between levels")
  func qkrope() {
    let engines = Engine.all()
    for seed in 1...12 as ClosedRange<UInt64> {
      var noise = Noise(seed: seed)
      let type = noise.type(), tokens = noise.int(0...9), ratio = noise.int(1...3)
      let d = [4, 36, 64, 128, 72][noise.int(0...4)], groups = [2, 4][noise.int(0...1)]
      let count = tokens * groups * (ratio + 2) * d, partGroups = noise.int(1...2)
      let x = Buffer(type, count, &noise), dy = Buffer(type, count, &noise)
      let wq = Buffer(type, d, &noise), wk = Buffer(type, d, &noise)
      let cos = Buffer(CK_F32, tokens * d / 2, &noise), sin = Buffer(CK_F32, tokens * d / 2, &noise)
      let norm = noise.int(0...3) > 0
      var s = ck_qkrope()
      (s.type, s.tokens, s.groups, s.ratio, s.d) = (
        type, tokens, Int32(groups), Int32(ratio), Int32(d)
      )
      s.eps = 1e-6
      if norm { (s.wq, s.wk) = (UnsafeRawPointer(wq.raw), UnsafeRawPointer(wk.raw)) }
      (s.cos, s.sin) = (UnsafePointer(cos.floats), UnsafePointer(sin.floats))
      var y = [Double](repeating: 0, count: count)
      var dx = y
      var dwq = [Double](repeating: 0, count: groups * d)
      var dwk = dwq
      ck_reference_qkrope(&s, x.raw, &y)
      ck_reference_qkrope_backward(&s, x.raw, dy.raw, &dx, &dwq, &dwk)
      let parts = groups / partGroups
      func byPart(_ g: [Double]) -> [Double] {
        (0..<parts * d).map { i in
          (0..<partGroups).reduce(0) { $0 + g[(i / d * partGroups + $1) * d + i % d] }
        }
      }
      var first: [Buffer] = []
      for engine in engines {
        let out = Buffer(type, count), r = Buffer(CK_F32, tokens * groups * (ratio + 1))
        let dxo = Buffer(type, count)
        let q = Buffer(CK_F32, parts * d), k = Buffer(CK_F32, parts * d)
        ck_qkrope_forward(engine.handle, &s, x.raw, out.raw, r.floats)
        ck_qkrope_backward(
          engine.handle, &s, x.raw, r.floats, dy.raw, dxo.raw, q.floats, k.floats, Int32(partGroups)
        )
        #expect(out.error(against: y) < tolerance(type), "\(engine.name) seed \(seed)")
        #expect(dxo.error(against: dx) < tolerance(type), "\(engine.name) seed \(seed)")
        if norm && tokens > 0 {
          #expect(q.error(against: byPart(dwq)) < 1e-5, "\(engine.name) seed \(seed)")
          #expect(k.error(against: byPart(dwk)) < 1e-5, "\(engine.name) seed \(seed)")
        }
        for (a, b) in zip(first, [out, r, dxo, q, k]) {
          #expect(a.sameBits(b), "\(engine.name) seed \(seed)")
        }
        if first.isEmpty { first = [out, r, dxo, q, k] }
        #expect([out, r, dxo, q, k].allSatisfy { $0.guardIntact })
      }
    }
  }

  @Test("SwiGLU and its backward agree with fp64 and between levels")
  func swiglu() {
    let engines = Engine.all()
    for seed in 1...12 as ClosedRange<UInt64> {
      var noise = Noise(seed: seed)
      let type = noise.type(), rows = noise.int(0...12), parts = noise.int(1...4)
      let width = noise.int(1...70), n = parts * width, scaled = noise.coin()
      let x = Buffer(type, rows * 2 * n, &noise), dy = Buffer(type, rows * n, &noise)
      for i in 0..<x.count { x[i] *= 20 }
      let scale = Buffer(CK_F32, rows, &noise)
      let factor = scaled ? UnsafePointer(scale.floats) : nil
      var y = [Double](repeating: 0, count: rows * n)
      var dx = [Double](repeating: 0, count: rows * 2 * n)
      var ds = [Double](repeating: 0, count: rows)
      ck_reference_swiglu(type, rows, Int32(parts), width, x.raw, factor, &y)
      ck_reference_swiglu_backward(
        type, rows, Int32(parts), width, x.raw, factor, dy.raw, &dx, &ds)
      var first: [Buffer] = []
      for engine in engines {
        let out = Buffer(type, rows * n), dxo = Buffer(type, rows * 2 * n)
        let dso = Buffer(CK_F32, rows)
        ck_swiglu_forward(
          engine.handle, type, rows, Int32(parts), width, x.raw, factor, out.raw)
        ck_swiglu_backward(
          engine.handle, type, rows, Int32(parts), width, x.raw, factor, dy.raw, dxo.raw, dso.floats
        )
        #expect(out.error(against: y) < tolerance(type), "\(engine.name) seed \(seed)")
        #expect(dxo.error(against: dx) < tolerance(type), "\(engine.name) seed \(seed)")
        #expect(dso.error(against: ds) < 1e-5, "\(engine.name) seed \(seed)")
        for (a, b) in zip(first, [out, dxo, dso]) {
          #expect(a.sameBits(b), "\(engine.name) seed \(seed)")
        }
        if first.isEmpty { first = [out, dxo, dso] }
        #expect([out, dxo, dso].allSatisfy { $0.guardIntact })
      }
    }
  }
}
