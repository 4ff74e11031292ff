/// The 128-bit permuted congruential generator that numpy's `default_rng(seed)` uses (XSL-RR),
/// with its seed spreading (`SeedSequence`).
///
/// Source: O'Neill 2014; numpy NEP 19 and its bit generators.
struct PCG64: Sendable {
  private static let multiplier = UInt128(0x2360_ED05_1FC6_5DA4) << 64 | 0x4385_DF64_9FCC_F645
  private var state: UInt128 = 0
  private let increment: UInt128
  /// Upper half of the last 64-bit word, handed out by the next 32-bit draw.
  private var half: UInt32?

  init(seed: UInt64) {
    let words = SeedSequence(seed: seed).words64(4)
    let start = UInt128(words[0]) << 64 | UInt128(words[1])
    let sequence = UInt128(words[2]) << 64 | UInt128(words[3])
    increment = sequence << 1 | 1
    step()
    state = state &+ start
    step()
  }

  private mutating func step() { state = state &* Self.multiplier &+ increment }

  mutating func next64() -> UInt64 {
    step()
    let folded = UInt64(truncatingIfNeeded: state >> 64) ^ UInt64(truncatingIfNeeded: state)
    let turn = UInt64(truncatingIfNeeded: state >> 122)
    return folded >> turn | folded << ((64 &- turn) & 63)
  }

  mutating func next32() -> UInt32 {
    if let word = half {
      half = nil
      return word
    }
    let word = next64()
    half = UInt32(truncatingIfNeeded: word >> 32)
    return UInt32(truncatingIfNeeded: word)
  }

  /// A double in [0, 1) from the upper 53 bits.
  mutating func nextDouble() -> Double { Double(next64() >> 11) * 0x1p-53 }
}

/// numpy's `SeedSequence` for one integer: a pool of four words, mixed so that near seeds give far
/// streams.
struct SeedSequence {
  private var pool = [UInt32](repeating: 0, count: 4)

  init(seed: UInt64) {
    var entropy = [UInt32(truncatingIfNeeded: seed)]
    if seed >> 32 != 0 { entropy.append(UInt32(truncatingIfNeeded: seed >> 32)) }
    var constant: UInt32 = 0x43B0_D7E5
    func hash(_ word: UInt32) -> UInt32 {
      var value = word ^ constant
      constant = constant &* 0x931E_8875
      value = value &* constant
      return value ^ (value >> 16)
    }
    for i in 0..<4 { pool[i] = hash(i < entropy.count ? entropy[i] : 0) }
    for source in 0..<4 {
      for target in 0..<4 where target != source {
        let mixed = 0xCA01_F9DD &* pool[target] &- 0x4973_F715 &* hash(pool[source])
        pool[target] = mixed ^ (mixed >> 16)
      }
    }
  }

  /// `generate_state(count, uint64)`.
  func words64(_ count: Int) -> [UInt64] {
    var constant: UInt32 = 0x8B51_F9DD
    var words: [UInt32] = []
    for i in 0..<(2 * count) {
      var value = pool[i % 4] ^ constant
      constant = constant &* 0x58F3_8DED
      value = value &* constant
      words.append(value ^ (value >> 16))
    }
    return (0..<count).map { UInt64(words[2 * $0]) | UInt64(words[2 * $0 + 1]) << 32 }
  }
}
