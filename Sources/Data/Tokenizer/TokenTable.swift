/// The bytes of every token, and the way back from bytes to a token.
struct TokenTable: Sendable {
  /// Bytes of all tokens, one after another.
  private(set) var bytes: [UInt8] = []
  /// Start of each id in `bytes`; the last entry is the end.
  private(set) var starts: [Int32] = [0]
  /// hash << 32 | id; `UInt64.max` where there is none. Only tokens that a piece of the same
  /// bytes becomes as a whole are here.
  private var slots: [UInt64] = []

  var count: Int { starts.count - 1 }

  /// - Parameter tokens: bytes by id; nil for an id without a token.
  init(_ tokens: [[UInt8]?]) {
    bytes.reserveCapacity(tokens.reduce(0) { $0 + ($1?.count ?? 0) })
    starts.reserveCapacity(tokens.count + 1)
    for token in tokens {
      bytes += token ?? []
      starts.append(Int32(bytes.count))
    }
  }

  /// Place of a token's bytes.
  @inline(__always)
  func range(of id: Int) -> Range<Int> { Int(starts[id])..<Int(starts[id + 1]) }

  /// Fills the way back for the ids for which `isWhole` holds.
  mutating func indexWhole(_ isWhole: (Int) -> Bool) {
    var size = 16
    while size < count * 2 { size *= 2 }
    var slots = [UInt64](repeating: .max, count: size)
    bytes.withUnsafeBufferPointer { all in
      for id in 0..<count where !range(of: id).isEmpty && isWhole(id) {
        let hash = Self.hash(UnsafeBufferPointer(rebasing: all[range(of: id)]))
        var at = Int(hash) & (size - 1)
        while slots[at] != .max { at = (at + 1) & (size - 1) }
        slots[at] = UInt64(hash) << 32 | UInt64(id)
      }
    }
    self.slots = slots
  }

  /// The token that a piece of these bytes becomes as a whole.
  @inline(__always)
  func find(_ piece: UnsafeBufferPointer<UInt8>) -> Int32? {
    let hash = Self.hash(piece)
    return slots.withUnsafeBufferPointer { slots in
      var at = Int(hash) & (slots.count - 1)
      while true {
        let entry = slots[at]
        if entry == .max { return nil }
        if UInt32(truncatingIfNeeded: entry >> 32) == hash {
          let id = Int(UInt32(truncatingIfNeeded: entry))
          if equal(id, piece) { return Int32(truncatingIfNeeded: id) }
        }
        at = (at + 1) & (slots.count - 1)
      }
    }
  }

  @inline(__always)
  private func equal(_ id: Int, _ piece: UnsafeBufferPointer<UInt8>) -> Bool {
    let range = range(of: id)
    guard range.count == piece.count else { return false }
    return bytes.withUnsafeBufferPointer { all in
      for i in 0..<piece.count where all[range.lowerBound + i] != piece[i] { return false }
      return true
    }
  }

  /// FNV-1a with a final mix; pieces are short.
  @inline(__always)
  private static func hash(_ piece: UnsafeBufferPointer<UInt8>) -> UInt32 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in piece { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    return UInt32(truncatingIfNeeded: (hash ^ hash >> 32) &* 0x9E37_79B9_7F4A_7C15 >> 32)
  }
}
