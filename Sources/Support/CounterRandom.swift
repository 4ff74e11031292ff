import Foundation

/// Random numbers without state: value = f(seed, purpose, index). A number depends on what it is for
/// and where it belongs, not on who drew numbers before, so every layout draws the same.
/// - Source: the mixing function of splitmix64 (Steele, Lea & Flood 2014), applied three times.
public struct CounterRandom: Sendable {
  private let key: UInt64

  /// - Parameter purpose: a name of the stream, for example that of a tensor.
  public init(seed: UInt64, purpose: String) {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in purpose.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    key = CounterRandom.mix(CounterRandom.mix(seed &+ 0x9E37_79B9_7F4A_7C15) ^ hash)
  }

  @inline(__always)
  private static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// 64 random bits of place `index`.
  public func bits(_ index: Int) -> UInt64 {
    CounterRandom.mix(
      CounterRandom.mix(key &+ UInt64(bitPattern: Int64(index)) &* 0x9E37_79B9_7F4A_7C15) ^ key)
  }

  /// Uniform in [0, 1), 53 bits.
  public func uniform(_ index: Int) -> Double {
    Double(bits(index) >> 11) * 0x1p-53
  }

  /// Standard normal (Box & Muller 1958): one number per place, from its own 64 bits.
  public func normal(_ index: Int) -> Double {
    let b = bits(index)
    let u = (Double(b >> 32) + 0.5) * 0x1p-32
    let v = Double(b & 0xFFFF_FFFF) * 0x1p-32
    return (-2 * log(u)).squareRoot() * cos(2 * Double.pi * v)
  }
}
