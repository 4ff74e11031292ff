/// numpy's `default_rng(seed)`, as far as data order needs it: the same numbers for the same seed.
public struct RandomGenerator: Sendable {
  private var bits: PCG64

  public init(seed: Int) { bits = PCG64(seed: UInt64(max(seed, 0))) }

  /// A number in `0...most` by multiplication with rejection (Lemire 2019).
  private mutating func draw(upTo most: Int) -> Int {
    if most <= 0 { return 0 }
    guard most < Int(UInt32.max) else { return wideDraw(upTo: UInt64(most)) }
    let range = UInt32(most) + 1
    var product = UInt64(bits.next32()) * UInt64(range)
    if UInt32(truncatingIfNeeded: product) < range {
      let threshold = (UInt32.max - UInt32(most)) % range
      while UInt32(truncatingIfNeeded: product) < threshold {
        product = UInt64(bits.next32()) * UInt64(range)
      }
    }
    return Int(product >> 32)
  }

  private mutating func wideDraw(upTo most: UInt64) -> Int {
    let range = most + 1
    var product = bits.next64().multipliedFullWidth(by: range)
    if product.low < range {
      let threshold = (UInt64.max - most) % range
      while product.low < threshold { product = bits.next64().multipliedFullWidth(by: range) }
    }
    return Int(product.high)
  }

  /// A number in `0...most` by masked rejection: words are cut to the bits of `most` until one fits.
  private mutating func maskedDraw(upTo most: Int) -> Int {
    let mask = UInt64.max >> UInt64(UInt64(most).leadingZeroBitCount)
    while true {
      let word = most <= Int(UInt32.max) ? UInt64(bits.next32()) : bits.next64()
      if word & mask <= UInt64(most) { return Int(word & mask) }
    }
  }

  /// `integers(0, high)`: a whole number in `0..<high`.
  public mutating func integer(below high: Int) -> Int { draw(upTo: high - 1) }

  /// `permutation(count)` and `shuffle`: Fisher-Yates from the end.
  public mutating func permutation(_ count: Int) -> [Int] {
    var order = Array(0..<max(count, 0))
    shuffle(&order)
    return order
  }

  /// `shuffle(list)`, in place.
  public mutating func shuffle<Element>(_ list: inout [Element]) {
    var i = list.count - 1
    while i > 0 {
      list.swapAt(i, maskedDraw(upTo: i))
      i -= 1
    }
  }

  /// A double in [0, 1).
  public mutating func uniform() -> Double { bits.nextDouble() }
}

/// `choice(k, p)`: an index drawn with given chances, one uniform number each.
struct WeightedChoice: Sendable {
  private let cumulative: [Double]

  /// - Parameter weights: not negative, not all 0; scaled to sum 1.
  init(weights: [Double]) {
    var sums: [Double] = []
    var total = 0.0
    for weight in weights {
      total += weight
      sums.append(total)
    }
    cumulative = sums.map { $0 / total }
  }

  func index(using generator: inout RandomGenerator) -> Int {
    let point = generator.uniform()
    return min(cumulative.firstIndex { $0 > point } ?? cumulative.count - 1, cumulative.count - 1)
  }
}
