import CKernels
import Testing

/// One document of an `Attention` case, given to the kept form in pieces.
private struct CachedCase {
  let a: Attention
  let pieces: [Int]

  /// The output of all tokens.
  func run(_ engine: Engine, beside others: Int = 0) -> Buffer {
    let page = ck_cache_page_bytes(engine.handle, a.type, Int32(a.groups), Int32(a.d))
    let offset = 192
    let copies = 1 + others
    let perSequence = a.tokens / Int(CK_PAGE) + 1
    let pages = (0..<copies * perSequence).map { _ in
      let p = UnsafeMutableRawPointer.allocate(byteCount: page + offset, alignment: 64)
      p.initializeMemory(as: UInt8.self, repeating: 0, count: page + offset)
      return Optional(p)
    }
    defer { for p in pages { p?.deallocate() } }
    let row = a.groups * (a.ratio + 2) * a.d
    let out = Buffer(a.type, a.d_o.count)
    var start = 0
    for piece in pieces {
      // Every sequence takes the same rows; only the first one's are looked at.
      let rows = Buffer(a.type, copies * piece * row)
      let o = Buffer(a.type, copies * piece * a.groups * a.ratio * a.d)
      for c in 0..<copies {
        for i in 0..<piece * row { rows[c * piece * row + i] = a.qkv[start * row + i] }
      }
      pages.withUnsafeBufferPointer { table in
        let sequences = (0..<copies).map { c in
          ck_cached_sequence(
            first_row: c * piece, rows: piece, start: start,
            pages: table.baseAddress! + c * perSequence)
        }
        var args = ck_cached_attention_args()
        args.type = a.type
        (args.groups, args.ratio, args.d) = (Int32(a.groups), Int32(a.ratio), Int32(a.d))
        args.scale = 1.5 / Float(a.d).squareRoot()
        args.qkv = UnsafeRawPointer(rows.raw)
        args.qs = ck_heads(token: row, group: (a.ratio + 2) * a.d)
        args.o = o.raw
        args.os = ck_heads(token: a.groups * a.ratio * a.d, group: a.ratio * a.d)
        args.offset = offset
        sequences.withUnsafeBufferPointer {
          (args.sequences, args.count) = ($0.baseAddress, $0.count)
          ck_cached_attention(engine.handle, &args)
        }
      }
      let width = a.groups * a.ratio * a.d
      for i in 0..<piece * width { out[start * width + i] = o[i] }
      start += piece
    }
    return out
  }
}

@Suite struct CachedAttentionTests {
  private func cut(_ tokens: Int, _ noise: inout Noise) -> [Int] {
    var rest = tokens
    var pieces: [Int] = []
    while rest > 0 {
      let piece = min(rest, noise.coin() ? 1 : noise.int(1...60))
      pieces.append(piece)
      rest -= piece
    }
    return pieces
  }

  @Test("kept keys and values give the bits of the whole document, however it is cut")
  func sameBits() {
    let engines = Engine.all()
    for seed in 1...16 as ClosedRange<UInt64> {
      var noise = Noise(seed: seed + 100)
      let a = Attention(seed: seed, lengths: [noise.int(1...150)])
      guard a.causal else { continue }
      let pieces = cut(a.tokens, &noise)
      for engine in engines where engine.level != CK_PORTABLE || a.tokens < 60 {
        let whole = a.run(engine).o
        let kept = CachedCase(a: a, pieces: pieces).run(engine, beside: Int(seed % 3))
        #expect(kept.sameBits(whole), "\(engine.name) \(a.description) in \(pieces)")
      }
    }
  }

  @Test("kept attention agrees with the plain reference at every level")
  func accuracy() {
    for type in [CK_F32, CK_BF16] {
      var noise = Noise(seed: 9)
      for length in [1, 5, 129, 200] {
        let a = (1...20 as ClosedRange<UInt64>).lazy
          .map { Attention(seed: $0, type: type, lengths: [length]) }.first { $0.causal }!
        var o = [Double](repeating: 0, count: a.d_o.count)
        var lse = [Double](repeating: 0, count: a.groups * a.ratio * a.tokens)
        a.with(a.empty()) { ck_reference_attention(&$0.f, &o, &lse) }
        for engine in Engine.all(threads: [2]) {
          let kept = CachedCase(a: a, pieces: cut(length, &noise)).run(engine)
          #expect(kept.error(against: o) < (type == CK_F32 ? 3e-6 : 1e-2), "\(engine.name)")
          #expect(kept.guardIntact)
        }
      }
    }
  }
}
