import CKernels
import Testing

/// One random product: operands, options, and C before it.
struct Product {
  var args: ck_gemm_args
  let a: Buffer, b: Buffer, c: Buffer
  let index: UnsafeMutableBufferPointer<Int32>
  let description: String

  init(seed: UInt64, type: ck_dtype? = nil, chunks fixed: Int? = nil, largest: Int = 60) {
    var noise = Noise(seed: seed)
    let form = [CK_NT, CK_NN, CK_TN][noise.int(0...2)]
    let ab = type ?? noise.type()
    let chunks = fixed ?? [1, 1, 2, 3, 4, 5, 7, 8][noise.int(0...7)]
    let m = noise.int(1...largest), n = noise.int(1...largest)
    let k = chunks * noise.int(0...(noise.coin() ? 20 : 90))
    let gather = noise.coin()
    let extra = 4
    let lda = (form == CK_TN ? m : k) + noise.int(0...3)
    let ldb = (form == CK_NT ? k : n) + noise.int(0...3)
    let ldc = n + noise.int(0...3)
    a = Buffer(ab, ((form == CK_TN ? k : m) + extra) * lda + 1, &noise)
    b = Buffer(ab, ((form == CK_NT ? n : k) + extra) * ldb + 1, &noise)
    c = Buffer(noise.type(), m * ldc, &noise)
    index = .allocate(capacity: m + k + 1)
    let limit = (form == CK_TN ? k : m) + extra - 1
    for i in 0..<index.count { index[i] = Int32(noise.int(0...limit)) }
    args = ck_gemm_args()
    args.form = form
    args.ab_type = ab
    args.c_type = c.type
    args.write = noise.coin() ? CK_STORE : CK_ADD
    args.chunks = Int32(chunks)
    (args.m, args.n, args.k) = (m, n, k)
    (args.a, args.lda) = (UnsafeRawPointer(a.raw), lda)
    (args.b, args.ldb) = (UnsafeRawPointer(b.raw), ldb)
    args.ldc = ldc
    if gather && form == CK_TN { args.k_rows = UnsafePointer(index.baseAddress) }
    if gather && form != CK_TN { args.a_rows = UnsafePointer(index.baseAddress) }
    description = "seed \(seed): form \(form.rawValue) m \(m) n \(n) k \(k) chunks \(chunks)"
  }
  func free() { index.deallocate() }

  func run(_ engine: Engine) -> Buffer {
    let out = c.copy()
    var g = args
    g.c = out.raw
    ck_gemm(engine.handle, &g)
    return out
  }
  func reference() -> Buffer {
    let out = c.copy()
    var g = args
    g.c = out.raw
    ck_reference_gemm(&g)
    return out
  }
}

@Suite struct GemmTests {
  @Test("every level and thread count gives the bits of the plain chain and tree")
  func chain() {
    let engines = Engine.all()
    for seed in 1...120 as ClosedRange<UInt64> {
      let p = Product(seed: seed)
      defer { p.free() }
      let exact = p.reference()
      for engine in engines
      where !(engine.level == CK_AVX512BF16 && p.args.ab_type == CK_BF16) {
        let out = p.run(engine)
        #expect(out.sameBits(exact), "\(engine.name) \(p.description)")
        #expect(out.guardIntact, "\(engine.name) \(p.description)")
      }
    }
  }

  @Test("long sums and large blocks continue their chain over packed pieces")
  func longChain() {
    let engines = Engine.all().filter { $0.level != CK_PORTABLE }
    for (form, m, n, k, chunks) in [
      (CK_NT, 13, 35, 1301, 1), (CK_NN, 530, 33, 1030, 1), (CK_TN, 25, 290, 2 * 1027, 2),
    ] {
      var noise = Noise(seed: UInt64(k))
      for type in [CK_F32, CK_BF16] {
        let a = Buffer(type, m * k, &noise), b = Buffer(type, n * k, &noise)
        let exact = Buffer(CK_F32, m * n)
        var g = ck_gemm_args()
        (g.form, g.ab_type, g.c_type, g.write) = (form, type, CK_F32, CK_STORE)
        (g.m, g.n, g.k, g.chunks) = (m, n, k, Int32(chunks))
        (g.a, g.lda) = (UnsafeRawPointer(a.raw), form == CK_TN ? m : k)
        (g.b, g.ldb) = (UnsafeRawPointer(b.raw), form == CK_NT ? k : n)
        (g.c, g.ldc) = (exact.raw, n)
        ck_reference_gemm(&g)
        for engine in engines where !(engine.level == CK_AVX512BF16 && type == CK_BF16) {
          let out = Buffer(CK_F32, m * n)
          g.c = out.raw
          ck_gemm(engine.handle, &g)
          #expect(out.sameBits(exact), "\(engine.name) form \(form.rawValue)")
        }
      }
    }
  }

  @Test("pairs of bf16 stay within fp32 rounding of the chain, the same on any threads")
  func pairs() {
    let engines = Engine.all().filter { $0.level == CK_AVX512BF16 }
    for seed in 1...60 as ClosedRange<UInt64> {
      let p = Product(seed: seed, type: CK_BF16)
      defer { p.free() }
      guard let first = engines.first else { return }
      let out = p.run(first), exact = p.reference()
      let n = p.args.n, ldc = p.args.ldc
      for i in 0..<out.count where i % ldc < n {
        let bound = out.type == CK_F32 ? 1e-5 : 8e-3
        let scale = Double(p.args.k) * 0.25 + abs(Double(exact[i])) + 1e-3
        #expect(abs(Double(out[i] - exact[i])) <= bound * scale, "\(p.description) at \(i)")
      }
      for engine in engines.dropFirst() {
        #expect(p.run(engine).sameBits(out), "\(engine.name) \(p.description)")
      }
    }
  }

  @Test("a row's result does not depend on the rows and columns computed with it")
  func splits() {
    for engine in Engine.all(threads: [2]) {
      for seed in 1...200 as ClosedRange<UInt64> {
        if engine.level == CK_PORTABLE && seed > 40 { break }
        let p = Product(seed: seed, largest: 50)
        defer { p.free() }
        let whole = p.run(engine)
        var noise = Noise(seed: seed + 7)
        let m = p.args.m, n = p.args.n
        let cut = noise.int(0...m), side = noise.int(0...n)
        let parts = p.c.copy()
        for (m0, m1) in [(0, cut), (cut, m)] {
          for (n0, n1) in [(0, side), (side, n)] {
            var g = p.args
            (g.m, g.n) = (m1 - m0, n1 - n0)
            g.c = parts.at(m0 * g.ldc + n0)
            g.b = UnsafeRawPointer(p.b.at(g.form == CK_NT ? n0 * g.ldb : n0))
            if g.form == CK_TN {
              g.a = UnsafeRawPointer(p.a.at(m0))
            } else if let rows = g.a_rows {
              g.a_rows = rows + m0
            } else {
              g.a = UnsafeRawPointer(p.a.at(m0 * g.lda))
            }
            if g.m > 0 && g.n > 0 { ck_gemm(engine.handle, &g) }
          }
        }
        #expect(parts.sameBits(whole), "\(engine.name) \(p.description) cut \(cut), \(side)")
      }
    }
  }

  @Test("ranks that own runs of chunks and add as a tree get the bits of one rank")
  func chunkTree() {
    for engine in Engine.all(threads: [2]) {
      for seed in 1...40 as ClosedRange<UInt64> {
        for ranks in [2, 4, 8] {
          let p = Product(seed: seed, chunks: 8, largest: 30)
          defer { p.free() }
          var g = p.args
          (g.c_type, g.write) = (CK_F32, CK_STORE)
          let whole = Buffer(CK_F32, p.c.count)
          g.c = whole.raw
          ck_gemm(engine.handle, &g)
          var partial: [Buffer] = []
          g.chunks = Int32(8 / ranks)
          g.k = p.args.k / ranks
          for rank in 0..<ranks {
            let out = Buffer(CK_F32, p.c.count)
            let k0 = rank * g.k
            var r = g
            r.c = out.raw
            r.a = UnsafeRawPointer(p.a.at(g.form == CK_TN ? k0 * g.lda : k0))
            if let rows = g.k_rows {
              r.k_rows = rows + k0
            } else {
              r.b = UnsafeRawPointer(p.b.at(g.form == CK_NT ? k0 : k0 * g.ldb))
            }
            ck_gemm(engine.handle, &r)
            partial.append(out)
          }
          while partial.count > 1 {
            for i in 0..<partial.count / 2 {
              ck_accumulate(
                engine.handle, p.c.count, partial[2 * i + 1].floats, partial[2 * i].floats)
            }
            partial = stride(from: 0, to: partial.count, by: 2).map { partial[$0] }
          }
          #expect(partial[0].sameBits(whole), "\(engine.name) \(p.description) ranks \(ranks)")
        }
      }
    }
  }

  @Test("grouped products equal the same products one by one, empty ones included")
  func grouped() {
    for engine in Engine.all() {
      let products = (1...12 as ClosedRange<UInt64>).map { Product(seed: $0 + 500, largest: 40) }
      defer { products.forEach { $0.free() } }
      let outs = products.map { $0.c.copy() }
      var list = zip(products, outs).map { p, out in
        var g = p.args
        g.c = out.raw
        return g
      }
      list[3].m = 0
      ck_gemm_grouped(engine.handle, list, list.count)
      for (i, p) in products.enumerated() {
        let expected = i == 3 ? p.c : p.run(engine)
        #expect(outs[i].sameBits(expected), "\(engine.name) product \(i)")
      }
    }
  }

  @Test("a NaN in one row of A spoils that row and no other")
  func propagation() {
    for engine in Engine.all(threads: [2]) {
      let m = 20, n = 19, k = 33
      var noise = Noise(seed: 3)
      let a = Buffer(CK_BF16, m * k, &noise), b = Buffer(CK_BF16, n * k, &noise)
      a[7 * k + 32] = .nan
      let c = Buffer(CK_F32, m * n)
      var g = ck_gemm_args()
      (g.form, g.ab_type, g.c_type, g.write, g.chunks) = (CK_NT, CK_BF16, CK_F32, CK_STORE, 1)
      (g.m, g.n, g.k) = (m, n, k)
      (g.a, g.lda, g.b, g.ldb) = (UnsafeRawPointer(a.raw), k, UnsafeRawPointer(b.raw), k)
      (g.c, g.ldc) = (c.raw, n)
      ck_gemm(engine.handle, &g)
      #expect((0..<m * n).allSatisfy { c[$0].isNaN == ($0 / n == 7) }, "\(engine.name)")
    }
  }
}
