import Support

/// Damages files in ways that readers of lengths, offsets and counts dislike. The same seed gives the
/// same damage.
public struct Mutator: Sendable {
  private var random: CounterRandomSequence

  public init(seed: UInt64) { random = CounterRandomSequence(seed: seed) }

  private static let extremes: [UInt64] = [
    0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF, .max,
  ]

  /// One to four changes: bits, bytes, fields set to an extreme, parts cut, doubled or exchanged.
  public mutating func damage(_ source: [UInt8]) -> [UInt8] {
    var bytes = source
    for _ in 0...random.below(4) where !bytes.isEmpty {
      let at = random.below(bytes.count)
      let length = min(1 + random.below(64), bytes.count - at)
      switch random.below(8) {
      case 0: bytes[at] ^= 1 << UInt8(random.below(8))
      case 1: bytes[at] = UInt8(random.below(256))
      case 2: field(&bytes, at)
      case 3: bytes.removeLast(bytes.count - at)
      case 4: bytes.removeSubrange(at..<at + length)
      case 5: bytes.insert(contentsOf: bytes[at..<at + length], at: random.below(bytes.count))
      case 6:
        let other = random.below(bytes.count - length + 1)
        for i in 0..<length { bytes.swapAt(at + i, other + i) }
      default:
        for i in at..<at + length { bytes[i] = UInt8(random.below(256)) }
      }
    }
    return bytes
  }

  private mutating func field(_ bytes: inout [UInt8], _ at: Int) {
    let value = Self.extremes[random.below(Self.extremes.count)]
    let width = [1, 2, 4, 8][random.below(4)]
    for i in 0..<width where at + i < bytes.count {
      bytes[at + i] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(i)))
    }
  }

  /// A number below `count`, for the choice of a file.
  public mutating func choose(_ count: Int) -> Int { random.below(count) }
}

/// SplitMix64.
struct CounterRandomSequence: Sendable {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func below(_ count: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Int(truncatingIfNeeded: (z ^ (z >> 31)) >> 1) % max(count, 1)
  }
}
