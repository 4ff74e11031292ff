/// Rank and result of each merge, found by the pair of token ids: an open-addressing hash table.
struct MergeTable: Sendable {
  /// left << 32 | right; `empty` where there is none.
  private var keys: [UInt64]
  /// rank << 32 | result.
  private var values: [UInt64]
  private let shift: UInt64
  private static let empty = UInt64.max

  /// No merge: sorts after every rank.
  static let none = UInt64.max

  init(capacity: Int) {
    var bits: UInt64 = 4
    while 1 << bits < capacity * 8 / 5 { bits += 1 }
    keys = Array(repeating: Self.empty, count: 1 << bits)
    values = Array(repeating: Self.none, count: 1 << bits)
    shift = 64 - bits
  }

  @inline(__always)
  private func slot(of key: UInt64) -> Int {
    Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> shift)
  }

  /// Adds a merge; of two with the same pair the first stays.
  mutating func insert(left: Int32, right: Int32, rank: Int, result: Int32) {
    let key = UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    var at = slot(of: key)
    while keys[at] != Self.empty {
      if keys[at] == key { return }
      at = (at + 1) & (keys.count - 1)
    }
    keys[at] = key
    values[at] = UInt64(rank) << 32 | UInt64(UInt32(bitPattern: result))
  }

  /// rank << 32 | result of a pair, or `none`.
  @inline(__always)
  func find(_ left: Int32, _ right: Int32) -> UInt64 {
    let key = UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    return keys.withUnsafeBufferPointer { keys in
      var at = slot(of: key)
      while true {
        if keys[at] == key { return values[at] }
        if keys[at] == Self.empty { return Self.none }
        at = (at + 1) & (keys.count - 1)
      }
    }
  }
}
