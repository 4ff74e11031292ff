/// Rank and result of each merge, found by the pair of token ids: an open-addressing hash table.
struct MergeTable: Sendable {
  /// Two words for each slot, side by side so that a look-up touches one cache line:
  /// left << 32 | right (`empty` where there is none), and rank << 32 | result.
  private var slots: [UInt64]
  private let mask: Int
  private let shift: UInt64
  private static let empty = UInt64.max

  /// No merge: sorts after every rank.
  static let none = UInt64.max

  init(capacity: Int) {
    var bits: UInt64 = 4
    while 1 << bits < capacity * 8 / 5 { bits += 1 }
    slots = Array(repeating: Self.empty, count: 2 << bits)
    mask = (1 << bits) - 1
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
    while slots[2 * at] != Self.empty {
      if slots[2 * at] == key { return }
      at = (at + 1) & mask
    }
    slots[2 * at] = key
    slots[2 * at + 1] = UInt64(rank) << 32 | UInt64(UInt32(bitPattern: result))
  }

  /// rank << 32 | result of a pair, or `none`.
  @inline(__always)
  func find(_ left: Int32, _ right: Int32) -> UInt64 {
    let key = UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    return slots.withUnsafeBufferPointer { slots in
      var at = slot(of: key)
      while true {
        let found = slots[2 * at]
        if found == key { return slots[2 * at + 1] }
        if found == Self.empty { return Self.none }
        at = (at + 1) & mask
      }
    }
  }
}
