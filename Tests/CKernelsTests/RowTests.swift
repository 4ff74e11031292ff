import CKernels
import Testing

@Suite struct RowTests {
  @Test("embedding rows of this rank are copied, others are negative zero")
  func embedding() {
    for engine in Engine.all() {
      for type in [CK_F32, CK_BF16] {
        var noise = Noise(seed: 3)
        let h = 21, count = 5, first = 10, tokens = 60
        let table = Buffer(type, count * h, &noise), out = Buffer(type, tokens * h)
        let ids = (0..<tokens).map { _ in Int32(noise.int(8...17)) }
        ck_embedding_forward(
          engine.handle, type, tokens, h, ids, first, count, table.raw, out.raw)
        for i in 0..<tokens * h {
          let row = Int(ids[i / h]) - first
          let here = row >= 0 && row < count
          #expect(out[i].bitPattern == (here ? table[row * h + i % h] : -0.0).bitPattern)
        }
        let dtable = Buffer(CK_F32, count * h, &noise), expected = dtable.copy()
        ck_embedding_backward(
          engine.handle, type, tokens, h, ids, first, count, out.raw, dtable.floats)
        for i in 0..<tokens * h {
          let row = Int(ids[i / h]) - first
          if row >= 0 && row < count { expected[row * h + i % h] += out[i] }
        }
        #expect(dtable.sameBits(expected) && dtable.guardIntact, "\(engine.name)")
      }
    }
  }

  @Test("rows are gathered, missing ones are zero, and combined as a chain over their slots")
  func gatherAndCombine() {
    for engine in Engine.all() {
      for type in [CK_F32, CK_BF16] {
        var noise = Noise(seed: 5)
        let h = 37, count = 23, k = 3, source = 9
        let x = Buffer(type, source * h, &noise), out = Buffer(type, count * h)
        let rows = (0..<count).map { _ in Int32(noise.int(-1...source - 1)) }
        ck_gather_rows(engine.handle, type, count, h, rows, x.raw, out.raw)
        #expect(
          (0..<count * h).allSatisfy {
            let row = Int(rows[$0 / h])
            return out[$0] == (row < 0 ? 0 : x[row * h + $0 % h])
          })
        let slots = (0..<count * k).map { _ in Int32(noise.int(-1...source - 1)) }
        let weights = Buffer(CK_F32, count * k, &noise)
        for weighted in [true, false] {
          ck_combine_rows(
            engine.handle, type, count, h, Int32(k), slots, weighted ? weights.floats : nil, x.raw,
            out.raw)
          let expected = Buffer(type, count * h) { i in
            var sum: Float = 0
            for j in 0..<k where slots[i / h * k + j] >= 0 {
              sum.addProduct(
                weighted ? weights[i / h * k + j] : 1, x[Int(slots[i / h * k + j]) * h + i % h])
            }
            return sum
          }
          #expect(out.sameBits(expected) && out.guardIntact, "\(engine.name)")
        }
      }
    }
  }
}
