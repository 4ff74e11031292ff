import CKernels
import Foundation
import Testing

@Suite struct LossTests {
  @Test("exp, log and the logistic function are within 2 units of fp64 and exact at the edges")
  func functions() {
    var noise = Noise(seed: 9)
    for _ in 0..<20_000 {
      let x = noise.unit() * 87
      let e = Float(exp(Double(x)))
      #expect(abs(ck_expf(x) - e) <= 2 * e.ulp, "exp \(x)")
      let positive = Float(exp(Double(noise.unit() * 80)))
      let l = Float(log(Double(positive)))
      #expect(abs(ck_logf(positive) - l) <= l.ulp, "log \(positive)")
      let s = Float(1 / (1 + exp(-Double(x))))
      #expect(abs(ck_sigmoidf(x) - s) <= 3 * s.ulp, "sigmoid \(x)")
    }
    #expect(ck_expf(0) == 1 && ck_expf(-.infinity) == 0 && ck_expf(.infinity) == .infinity)
    #expect(ck_expf(89) == .infinity && ck_expf(-110) == 0 && ck_expf(.nan).isNaN)
    #expect(ck_expf(-100) > 0)
    #expect(ck_logf(0) == -.infinity && ck_logf(1) == 0 && ck_logf(-1).isNaN)
    #expect(ck_logf(.infinity) == .infinity && ck_logf(.nan).isNaN)
    #expect(ck_logf(0x1p-149) == Float(-149 * log(2.0)))
    #expect(ck_sigmoidf(-.infinity) == 0 && ck_sigmoidf(.infinity) == 1)
  }

  @Test("the vector exp has the bits of the one-lane exp at every level")
  func vectorExp() {
    var noise = Noise(seed: 4)
    let n = 1000
    let z = Buffer(CK_F32, n, &noise)
    for i in 0..<n { z[i] *= 110 }
    z[0] = .infinity
    z[1] = -.infinity
    z[2] = .nan
    // softmax over one column of one row per element would divide by itself: use the gradient with
    // sum 1, label absent and seed 1, which is exp(z - m) itself.
    for engine in Engine.all(threads: [1]) {
      let g = Buffer(CK_F32, n)
      var (m, sum, seed): (Float, Float, Float) = (0, 1, 1)
      var label: Int32 = -1
      ck_ce_grad(engine.handle, CK_F32, 1, n, z.floats, &m, &sum, &label, &seed, g.raw)
      for i in 0..<n where i != 2 {
        #expect(g[i].bitPattern == ck_expf(z[i]).bitPattern, "\(engine.name) exp \(z[i])")
      }
      #expect(g[2].isNaN)
    }
  }

  @Test("softmax of rows agrees with fp64, sums to one, same bits at all levels")
  func softmax() {
    let engines = Engine.all()
    for seed in 1...8 as ClosedRange<UInt64> {
      var noise = Noise(seed: seed)
      let rows = noise.int(0...9), n = noise.int(1...200)
      let x = Buffer(CK_F32, rows * n, &noise)
      for i in 0..<x.count { x[i] *= 30 }
      var exact: [Double] = []
      var logs: [Double] = []
      for r in 0..<rows {
        let row = (0..<n).map { Double(x[r * n + $0]) }
        let top = row.max() ?? 0
        let sum = row.reduce(0) { $0 + exp($1 - top) }
        exact += row.map { exp($0 - top) / sum }
        logs.append(top + log(sum))
      }
      var first: [Buffer] = []
      for engine in engines {
        let y = x.copy(), lse = Buffer(CK_F32, rows)
        ck_softmax_rows(engine.handle, rows, n, y.floats, y.floats, lse.floats)
        #expect(y.error(against: exact) < 2e-6 && lse.error(against: logs) < 1e-6)
        for (a, b) in zip(first, [y, lse]) { #expect(a.sameBits(b), "\(engine.name) seed \(seed)") }
        if first.isEmpty { first = [y, lse] }
      }
    }
  }

  @Test("the pieces of the cross-entropy give loss and gradient, same bits at all levels")
  func crossEntropy() {
    let engines = Engine.all()
    for seed in 1...8 as ClosedRange<UInt64> {
      var noise = Noise(seed: seed)
      let type = noise.type(), rows = noise.int(1...9), parts = noise.int(1...4)
      let n = parts * noise.int(1...90)
      let z = Buffer(CK_F32, rows * n, &noise), seeds = Buffer(CK_F32, rows, &noise)
      for i in 0..<z.count { z[i] *= 12 }
      let labels = (0..<rows).map { _ in Int32(noise.int(-1...n)) }
      var first: [Buffer] = []
      for engine in engines {
        let m = Buffer(CK_F32, rows), sums = Buffer(CK_F32, rows * parts)
        let target = Buffer(CK_F32, rows), g = Buffer(type, rows * n)
        ck_ce_max(engine.handle, rows, n, z.floats, m.floats)
        ck_ce_sums(
          engine.handle, rows, n, Int32(parts), z.floats, m.floats, labels, sums.floats,
          target.floats)
        let sum = Buffer(CK_F32, rows) { r in (0..<parts).reduce(0) { $0 + sums[r * parts + $1] } }
        ck_ce_grad(
          engine.handle, type, rows, n, z.floats, m.floats, sum.floats, labels, seeds.floats, g.raw)
        var exact: [Double] = []
        for r in 0..<rows {
          let row = (0..<n).map { Double(z[r * n + $0]) }
          let total = row.reduce(0) { $0 + exp($1) }
          let label = Int(labels[r])
          exact += (0..<n).map { (exp(row[$0]) / total - ($0 == label ? 1 : 0)) * Double(seeds[r]) }
          #expect(m[r] == (0..<n).map { z[r * n + $0] }.max())
          if label >= 0 && label < n {
            #expect(abs(Double(target[r]) - row[label] + Double(m[r])) < 1e-5)
          } else {
            #expect(target[r].bitPattern == Float(-0.0).bitPattern)
          }
          #expect(abs(log(Double(sum[r])) + Double(m[r]) - log(total)) < 1e-5)
        }
        #expect(g.error(against: exact) < tolerance(type), "\(engine.name) seed \(seed)")
        for (a, b) in zip(first, [m, sums, target, g]) {
          #expect(a.sameBits(b), "\(engine.name) seed \(seed)")
        }
        if first.isEmpty { first = [m, sums, target, g] }
      }
    }
  }

  @Test("a NaN logit makes maximum and sums of its row NaN")
  func nanLogit() {
    for engine in Engine.all(threads: [1]) {
      for n in [5, 40, 130] {
        let z = Buffer(CK_F32, n) { _ in 1 }, m = Buffer(CK_F32, 1)
        z[n - 2] = .nan
        ck_ce_max(engine.handle, 1, n, z.floats, m.floats)
        #expect(m[0].isNaN, "\(engine.name) n \(n)")
      }
    }
  }
}
