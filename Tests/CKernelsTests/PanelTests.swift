import CKernels
import Testing

/// A weight in panels of an engine.
private struct Panels {
  let memory: UnsafeMutableRawPointer
  let bytes: Int

  init(_ engine: Engine, _ g: ck_gemm_args) {
    bytes = ck_panel_bytes(engine.handle, g.ab_type, g.n, g.k)
    memory = .allocate(byteCount: bytes + 64, alignment: 64)
    (memory + bytes).initializeMemory(as: UInt8.self, repeating: 0xA5, count: 64)
    ck_panel_pack(engine.handle, g.ab_type, g.n, g.k, g.b, g.ldb, memory)
  }
  var guardIntact: Bool {
    UnsafeRawBufferPointer(start: memory + bytes, count: 64).allSatisfy { $0 == 0xA5 }
  }
}

@Suite struct PanelTests {
  /// Forward products with gathered rows and chunks that keep pairs together.
  private func products() -> [Product] {
    (1...150 as ClosedRange<UInt64>).map { Product(seed: $0, largest: $0 % 5 == 0 ? 60 : 9) }
      .filter {
        $0.args.form == CK_NT
          && ($0.args.chunks == 1 || $0.args.k / Int($0.args.chunks) % 2 == 0)
      }
  }

  @Test("a weight in panels gives the bits of the plain product at every level")
  func sameBits() {
    let all = products()
    #expect(all.count > 20)
    for engine in Engine.all() {
      for p in all {
        let panels = Panels(engine, p.args)
        defer { panels.memory.deallocate() }
        let out = p.c.copy()
        var g = p.args
        (g.b, g.ldb, g.b_panels, g.c) = (UnsafeRawPointer(panels.memory), 0, 1, out.raw)
        ck_gemm(engine.handle, &g)
        #expect(out.sameBits(p.run(engine)), "\(engine.name) \(p.description)")
        #expect(out.guardIntact && panels.guardIntact, "\(engine.name) \(p.description)")
      }
    }
    for p in all { p.free() }
  }

  @Test("many rows and long sums in panels give the bits of the plain product")
  func large() {
    for type in [CK_F32, CK_BF16] {
      var noise = Noise(seed: 5)
      let (m, n, k, chunks) = (410, 230, 1040, 4)
      let a = Buffer(type, m * k, &noise), b = Buffer(type, n * k, &noise)
      var g = ck_gemm_args()
      (g.form, g.ab_type, g.c_type, g.write) = (CK_NT, type, type, CK_STORE)
      (g.m, g.n, g.k, g.chunks) = (m, n, k, Int32(chunks))
      (g.a, g.lda) = (UnsafeRawPointer(a.raw), k)
      (g.b, g.ldb, g.ldc) = (UnsafeRawPointer(b.raw), k, n)
      for engine in Engine.all(threads: [2]) where engine.level != CK_PORTABLE {
        let plain = Buffer(type, m * n), out = Buffer(type, m * n)
        var h = g
        h.c = plain.raw
        ck_gemm(engine.handle, &h)
        let panels = Panels(engine, g)
        defer { panels.memory.deallocate() }
        (h.b, h.b_panels, h.c) = (UnsafeRawPointer(panels.memory), 1, out.raw)
        ck_gemm(engine.handle, &h)
        #expect(out.sameBits(plain), "\(engine.name)")
      }
    }
  }

  @Test("a list of products of few and many rows gives the bits of each by itself")
  func grouped() {
    let list = products().filter { $0.args.ab_type == CK_BF16 }
    for engine in Engine.all(threads: [3]) {
      let panels = list.map { Panels(engine, $0.args) }
      let outs = list.map { $0.c.copy() }
      let arguments = zip(list, zip(panels, outs)).map { p, both in
        var g = p.args
        (g.b, g.b_panels, g.c) = (UnsafeRawPointer(both.0.memory), 1, both.1.raw)
        return g
      }
      ck_gemm_grouped(engine.handle, arguments, arguments.count)
      for (p, out) in zip(list, outs) {
        #expect(out.sameBits(p.run(engine)), "\(engine.name) \(p.description)")
      }
      for p in panels { p.memory.deallocate() }
    }
    for p in list { p.free() }
  }

  @Test("rows come back from panels as they went in, others as negative zero")
  func rows() {
    var noise = Noise(seed: 3)
    for engine in Engine.all(threads: [2]) {
      for type in [CK_F32, CK_BF16] {
        for k in [1, 7, 64] {
          let n = 37
          let w = Buffer(type, n * k, &noise)
          var g = ck_gemm_args()
          (g.ab_type, g.n, g.k) = (type, n, k)
          (g.b, g.ldb) = (UnsafeRawPointer(w.raw), k)
          let panels = Panels(engine, g)
          defer { panels.memory.deallocate() }
          let ids: [Int32] = [100, 136, 99, 117, 137]
          let out = Buffer(type, ids.count * k)
          ck_panel_rows(engine.handle, type, k, panels.memory, ids.count, ids, 100, n, out.raw)
          for (i, id) in ids.enumerated() {
            for j in 0..<k {
              let inside = (100..<100 + Int32(n)).contains(id)
              let want: Float = inside ? w[Int(id - 100) * k + j] : -0.0
              #expect(out[i * k + j].bitPattern == want.bitPattern, "\(engine.name) \(id) \(j)")
            }
          }
          #expect(out.guardIntact)
        }
      }
    }
  }
}
