import Parallel
import Support

/// One collective with its sizes, the same on every rank; the data follow from the seed.
enum Call: Sendable {
  case barrier
  case allReduce(count: Int, TreeOrder)
  case reduceScatter(count: Int, TreeOrder)
  case allGather(counts: [Int])
  /// `bytes[s][r]` go from rank s to rank r.
  case allToAll(bytes: [[Int]])
  case broadcast(bytes: Int, root: Int)
  case maxFloat(count: Int)
  case maxInt(count: Int)
  case sumInt(count: Int)
}

/// A list of random collectives. Running it on a world gives each rank's results as bytes, which
/// must equal those of `reference`, a plain computation without any world.
struct Script: Sendable {
  let seed: UInt64
  let ranks: Int
  let calls: [Call]

  init(seed: UInt64, ranks: Int, calls: [Call]) {
    self.seed = seed
    self.ranks = ranks
    self.calls = calls
  }

  /// `length` calls whose buffers have up to `largest` elements.
  init(seed: UInt64, ranks: Int, length: Int, largest: Int) {
    var random = SplitMix(seed)
    calls = (0..<length).map { _ in Self.call(&random, ranks: ranks, largest: largest) }
    self.seed = seed
    self.ranks = ranks
  }

  private static func call(_ random: inout SplitMix, ranks: Int, largest: Int) -> Call {
    // Mostly short buffers, some of them empty, a few long ones.
    func count() -> Int {
      let limit = random.below(4) == 0 ? largest : max(largest / 64, 2)
      return random.below(limit + 1)
    }
    let order: TreeOrder = random.below(2) == 0 ? .adjacentFirst : .distantFirst
    switch random.below(11) {
    case 0: return .barrier
    case 1, 2: return .allReduce(count: count(), order)
    case 3, 4: return .reduceScatter(count: count() / ranks, order)
    case 5: return .allGather(counts: (0..<ranks).map { _ in count() })
    case 6: return .allToAll(bytes: (0..<ranks).map { _ in (0..<ranks).map { _ in count() } })
    case 7: return .broadcast(bytes: count(), root: random.below(ranks))
    case 8: return .maxFloat(count: count())
    case 9: return .maxInt(count: count() / 2)
    default: return .sumInt(count: count() / 2)
    }
  }

  // MARK: Data

  private func random(_ step: Int, _ rank: Int) -> SplitMix {
    SplitMix(seed &* 1_000_003 &+ UInt64(step) &* 8191 &+ UInt64(rank))
  }

  /// Floats of very different size, so that every other order of additions shows.
  func floats(_ step: Int, rank: Int, count: Int) -> [Float] {
    var random = random(step, rank)
    return (0..<count).map { _ in random.float() }
  }

  func integers(_ step: Int, rank: Int, count: Int) -> [Int64] {
    var random = random(step, rank)
    return (0..<count).map { _ in Int64(bitPattern: random.next()) >> 8 }
  }

  func bytes(_ step: Int, rank: Int, count: Int) -> [UInt8] {
    var random = random(step, rank)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }
}

/// A small generator of random numbers (Steele, Lea, Flood: SplitMix64).
struct SplitMix: Sendable {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(max(limit, 1))) }

  /// Any sign, exponents over 40 binary orders, full mantissa.
  mutating func float() -> Float {
    let bits = next()
    let exponent = UInt32(107 + (bits >> 33) % 40)
    return Float(
      bitPattern: UInt32(bits & 1) << 31 | exponent << 23 | UInt32(bits >> 8 & 0x7F_FFFF))
  }
}
