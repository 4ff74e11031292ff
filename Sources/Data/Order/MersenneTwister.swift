/// The 32-bit Mersenne twister MT19937, started from one integer (`init_genrand`).
///
/// Both numpy's legacy `RandomState` and torch's CPU generator are built on it.
/// Source: Matsumoto and Nishimura 1998, reference code of 2002.
public struct MersenneTwister: Sendable {
  private static let count = 624
  private static let middle = 397
  private var words: [UInt32]
  private var next: Int

  public init(seed: UInt32) {
    words = [UInt32](repeating: 0, count: Self.count)
    words[0] = seed
    for i in 1..<Self.count {
      words[i] = 1_812_433_253 &* (words[i - 1] ^ (words[i - 1] >> 30)) &+ UInt32(i)
    }
    next = Self.count
  }

  /// The next tempered word.
  public mutating func nextWord() -> UInt32 {
    if next == Self.count { refill() }
    var y = words[next]
    next += 1
    y ^= y >> 11
    y ^= (y << 7) & 0x9D2C_5680
    y ^= (y << 15) & 0xEFC6_0000
    return y ^ (y >> 18)
  }

  private mutating func refill() {
    let n = Self.count
    let m = Self.middle
    words.withUnsafeMutableBufferPointer { w in
      for i in 0..<n {
        let y = (w[i] & 0x8000_0000) | (w[(i + 1) % n] & 0x7FFF_FFFF)
        w[i] = w[(i + m) % n] ^ (y >> 1) ^ ((y & 1) == 0 ? 0 : 0x9908_B0DF)
      }
    }
    next = 0
  }
}
