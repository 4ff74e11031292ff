import CKernels
import Testing

/// A fused row of queries, key and value per group, packed documents, and a gradient of the output.
struct Attention {
  let type: ck_dtype
  let groups: Int, ratio: Int, d: Int, tokens: Int
  let causal: Bool
  let cu: [Int32]
  let qkv: Buffer, d_o: Buffer
  let description: String

  init(seed: UInt64, type fixed: ck_dtype? = nil, lengths: [Int]? = nil) {
    var noise = Noise(seed: seed)
    type = fixed ?? noise.type()
    groups = noise.int(1...2)
    ratio = noise.int(1...3)
    d = [4, 20, 36, 64, 72, 128][noise.int(0...5)]
    causal = noise.int(0...2) > 0
    var starts: [Int32] = [0]
    let documents = noise.int(1...3)
    for length in lengths ?? (0..<documents).map({ _ in noise.int(0...70) }) {
      starts.append((starts.last ?? 0) + Int32(length))
    }
    cu = starts
    tokens = Int(starts.last ?? 0)
    qkv = Buffer(type, tokens * groups * (ratio + 2) * d, &noise)
    d_o = Buffer(type, tokens * groups * ratio * d, &noise)
    description = "seed \(seed): d \(d) heads \(groups)x\(ratio) documents \(starts)"
  }

  struct Result {
    let o: Buffer, lse: Buffer, dqkv: Buffer
    func sameBits(_ r: Result) -> Bool {
      o.sameBits(r.o) && lse.sameBits(r.lse) && dqkv.sameBits(r.dqkv)
    }
  }

  /// Arguments around the given outputs; `body` may change them before they are used.
  func with<R>(_ r: Result, _ body: (inout ck_attention_grad_args) -> R) -> R {
    cu.withUnsafeBufferPointer { starts in
      var a = ck_attention_args()
      (a.type, a.tokens) = (type, tokens)
      (a.groups, a.ratio, a.d) = (Int32(groups), Int32(ratio), Int32(d))
      a.scale = 1.5 / Float(d).squareRoot()
      a.causal = causal ? 1 : 0
      (a.cu, a.documents) = (starts.baseAddress, cu.count - 1)
      let fused = ck_heads(token: groups * (ratio + 2) * d, group: (ratio + 2) * d)
      let plain = ck_heads(token: groups * ratio * d, group: ratio * d)
      a.q = UnsafeRawPointer(qkv.raw)
      a.k = UnsafeRawPointer(qkv.at(ratio * d))
      a.v = UnsafeRawPointer(qkv.at((ratio + 1) * d))
      (a.qs, a.ks, a.vs, a.os) = (fused, fused, fused, plain)
      (a.o, a.lse) = (r.o.raw, r.lse.floats)
      var g = ck_attention_grad_args()
      g.f = a
      (g.d_o, g.dos) = (UnsafeRawPointer(d_o.raw), plain)
      g.dq = r.dqkv.raw
      g.dk = r.dqkv.at(ratio * d)
      g.dv = r.dqkv.at((ratio + 1) * d)
      (g.dqs, g.dks, g.dvs) = (fused, fused, fused)
      return body(&g)
    }
  }
  func empty() -> Result {
    Result(
      o: Buffer(type, d_o.count), lse: Buffer(CK_F32, tokens * groups * ratio),
      dqkv: Buffer(type, qkv.count))
  }
  func run(_ engine: Engine) -> Result {
    let r = empty()
    with(r) { g in
      ck_attention_forward(engine.handle, &g.f)
      ck_attention_backward(engine.handle, &g)
    }
    return r
  }
}

@Suite struct AttentionTests {
  @Test("output, log-sum and gradients agree with fp64 at every level")
  func accuracy() {
    let engines = Engine.all(threads: [2])
    for seed in 1...24 as ClosedRange<UInt64> {
      let a = Attention(seed: seed)
      guard a.tokens > 0 else { continue }
      let heads = a.groups * a.ratio
      var o = [Double](repeating: 0, count: a.d_o.count)
      var lse = [Double](repeating: 0, count: heads * a.tokens)
      var dq = o
      var dk = [Double](repeating: 0, count: a.tokens * a.groups * a.d)
      var dv = dk
      a.with(a.empty()) { g in
        ck_reference_attention(&g.f, &o, &lse)
        ck_reference_attention_backward(&g, &dq, &dk, &dv)
      }
      var dqkv: [Double] = []
      for token in 0..<a.tokens {
        for g in 0..<a.groups {
          let kv = (token * a.groups + g) * a.d
          dqkv += dq[kv * a.ratio..<(kv + a.d) * a.ratio]
          dqkv += dk[kv..<kv + a.d]
          dqkv += dv[kv..<kv + a.d]
        }
      }
      let bound = a.type == CK_F32 ? 3e-6 : 1e-2
      for engine in engines where engine.level != CK_PORTABLE || seed <= 8 {
        let r = a.run(engine)
        #expect(r.o.error(against: o) < bound, "\(engine.name) \(a.description)")
        #expect(r.lse.error(against: lse) < 1e-6, "\(engine.name) \(a.description)")
        #expect(r.dqkv.error(against: dqkv) < bound, "\(engine.name) \(a.description)")
        #expect(r.o.guardIntact && r.lse.guardIntact && r.dqkv.guardIntact)
      }
    }
  }

  @Test("fp32 has the same bits at every level, every type on any number of threads")
  func bits() {
    let engines = Engine.all()
    for seed in 1...10 as ClosedRange<UInt64> {
      let a = Attention(seed: seed)
      var byLevel: [UInt32: Attention.Result] = [:]
      for engine in engines {
        let r = a.run(engine)
        let key = a.type == CK_F32 ? 0 : engine.level.rawValue
        if let first = byLevel[key] {
          #expect(r.sameBits(first), "\(engine.name) \(a.description)")
        } else {
          byLevel[key] = r
        }
      }
    }
  }

  @Test("a document among others has the bits it has alone")
  func documents() {
    for engine in Engine.all(threads: [2]) where engine.level != CK_PORTABLE {
      for type in [CK_F32, CK_BF16] {
        for seed in 31...34 as ClosedRange<UInt64> {
          let lengths = [37, 150, 5]
          let all = Attention(seed: seed, type: type, lengths: lengths)
          let together = all.run(engine)
          let (first, count) = (37, 150)
          let alone = Attention(seed: seed, type: type, lengths: [count])
          let row = alone.groups * (alone.ratio + 2) * alone.d
          let out = alone.groups * alone.ratio * alone.d
          for i in 0..<alone.qkv.count { alone.qkv[i] = all.qkv[first * row + i] }
          for i in 0..<alone.d_o.count { alone.d_o[i] = all.d_o[first * out + i] }
          let single = alone.run(engine)
          #expect((0..<count * out).allSatisfy { single.o[$0] == together.o[first * out + $0] })
          #expect(
            (0..<count * row).allSatisfy { single.dqkv[$0] == together.dqkv[first * row + $0] })
        }
      }
    }
  }

  @Test("documents longer than a span of keys keep fp64 accuracy and thread-free bits")
  func spans() {
    let engines = Engine.all(threads: [1, 3]).filter {
      $0.level == CK_AVX512 || $0.level == CK_AVX2
    }
    guard let first = engines.first else { return }
    let a = Attention(seed: 5, type: CK_F32, lengths: [2100])
    let one = a.run(first)
    for engine in engines.dropFirst() {
      #expect(a.run(engine).sameBits(one), "\(engine.name) \(a.description)")
    }
    var o = [Double](repeating: 0, count: a.d_o.count)
    var lse = [Double](repeating: 0, count: a.groups * a.ratio * a.tokens)
    a.with(a.empty()) { g in ck_reference_attention(&g.f, &o, &lse) }
    #expect(one.o.error(against: o) < 3e-6)
  }

  @Test("a NaN in the last value reaches only queries that see it")
  func propagation() {
    for engine in Engine.all(threads: [1]) {
      let a = Attention(seed: 12, type: CK_F32, lengths: [5, 40])
      a.qkv[a.qkv.count - 1] = .nan
      let r = a.run(engine)
      let out = a.groups * a.ratio * a.d
      #expect((0..<5 * out).allSatisfy { !r.o[$0].isNaN })
      #expect(r.o[a.tokens * out - 1].isNaN)
    }
  }
}
