/// numpy's legacy `RandomState`, as far as data order needs it: the same numbers for the same seed.
public struct RandomState: Sendable {
  private var twister: MersenneTwister
  /// Words that were drawn since the beginning.
  private(set) var words = 0

  /// - Parameter seed: `--data_seed`; only its lowest 32 bits count, as in numpy.
  public init(seed: Int) { twister = MersenneTwister(seed: UInt32(truncatingIfNeeded: seed)) }

  /// A number in `0...most` by masked rejection: words are cut to the bits of `most` until one fits.
  private mutating func draw(upTo most: UInt32) -> UInt32 {
    if most == 0 { return 0 }
    let mask = UInt32.max >> UInt32(most.leadingZeroBitCount)
    while true {
      let value = nextWord() & mask
      if value <= most { return value }
    }
  }

  private mutating func nextWord() -> UInt32 {
    words += 1
    return twister.nextWord()
  }

  /// Passes over words, as if they had been drawn.
  mutating func skip(words count: Int) {
    for _ in 0..<max(count, 0) { _ = nextWord() }
  }

  /// `randint(0, high)`: a whole number in `0..<high`; `high` is at least 1.
  public mutating func integer(below high: Int) -> Int {
    Int(draw(upTo: UInt32(truncatingIfNeeded: max(high, 1) - 1)))
  }

  /// `randint(0, 2^31 - 1)`: the seed that the next shuffle takes from the stream.
  public mutating func seed() -> Int { integer(below: Int(Int32.max)) }

  /// `permutation(count)`: Fisher-Yates from the end.
  public mutating func permutation(_ count: Int) -> [Int] {
    var order = Array(0..<max(count, 0))
    var i = order.count - 1
    while i > 0 {
      order.swapAt(i, Int(draw(upTo: UInt32(truncatingIfNeeded: i))))
      i -= 1
    }
    return order
  }
}
