import CKernels
import Testing

/// OpenBLAS as a second opinion, and as the other back end. Where it is not installed there is
/// nothing to compare with.
@Suite struct OpenBLASTests {
  private static func engine() -> Engine? {
    guard let handle = ck_engine_create(2, 0, -1) else { return nil }
    let engine = Engine(handle, ck_engine_level(handle), 2)
    return ck_engine_use_openblas(handle) == 1 ? engine : nil
  }

  @Test("our fp32 products agree with those of OpenBLAS within fp32 rounding")
  func oracle() {
    guard let other = Self.engine() else { return }
    for seed in 1...60 as ClosedRange<UInt64> {
      let p = Product(seed: seed, type: CK_F32)
      defer { p.free() }
      let theirs = p.run(other)
      for engine in Engine.all(threads: [2]) {
        let ours = p.run(engine)
        for i in 0..<ours.count where i % p.args.ldc < p.args.n {
          let bound = p.args.c_type == CK_F32 ? 2e-6 : 8e-3
          let scale = Double(p.args.k) * 0.5 + abs(Double(theirs[i])) + 1e-3
          #expect(
            abs(Double(ours[i] - theirs[i])) <= bound * scale,
            "\(engine.name) \(p.description) at \(i)")
        }
        #expect(theirs.guardIntact)
      }
    }
  }

  @Test("bf16 products keep our own bits when OpenBLAS multiplies fp32")
  func otherTypes() {
    guard let other = Self.engine(), let own = ck_engine_create(2, 0, -1) else { return }
    let engine = Engine(own, ck_engine_level(own), 2)
    for seed in 1...10 as ClosedRange<UInt64> {
      let p = Product(seed: seed, type: CK_BF16)
      defer { p.free() }
      #expect(p.run(other).sameBits(p.run(engine)), "\(p.description)")
    }
  }
}
