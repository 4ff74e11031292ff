/// A token that stands outside the byte-pair vocabulary, matched as a whole in any text.
public struct AddedToken: Sendable, Equatable {
  public var id: Int32
  public var content: String
  /// Left out when a text is decoded with `skipSpecial`.
  public var isSpecial: Bool
  /// Matched in the normalized text; false: in the text as it came.
  public var isNormalized: Bool

  public init(id: Int32, content: String, isSpecial: Bool, isNormalized: Bool = false) {
    self.id = id
    self.content = content
    self.isSpecial = isSpecial
    self.isNormalized = isNormalized
  }
}

/// Finds added tokens in a text: the leftmost, and there the longest.
struct AddedTokenMatcher: Sendable {
  private struct Entry {
    let bytes: [UInt8]
    let id: Int32
  }

  /// Tokens by their first byte, the longest first.
  private let byFirst: [[Entry]]
  let isEmpty: Bool

  init(_ tokens: [AddedToken]) {
    var byFirst = [[Entry]](repeating: [], count: 256)
    for token in tokens {
      let bytes = Array(token.content.utf8)
      guard let first = bytes.first else { continue }
      byFirst[Int(first)].append(Entry(bytes: bytes, id: token.id))
    }
    for i in byFirst.indices { byFirst[i].sort { $0.bytes.count > $1.bytes.count } }
    self.byFirst = byFirst
    isEmpty = byFirst.allSatisfy(\.isEmpty)
  }

  /// The next token at or after `start`, or nil.
  func next(
    in bytes: UnsafeBufferPointer<UInt8>, from start: Int
  ) -> (range: Range<Int>, id: Int32)? {
    if isEmpty { return nil }
    return byFirst.withUnsafeBufferPointer { byFirst in
      for at in start..<max(bytes.count, start) where !byFirst[Int(bytes[at])].isEmpty {
        for entry in byFirst[Int(bytes[at])] where matches(entry.bytes, bytes, at) {
          return (at..<(at + entry.bytes.count), entry.id)
        }
      }
      return nil
    }
  }

  private func matches(_ token: [UInt8], _ bytes: UnsafeBufferPointer<UInt8>, _ at: Int) -> Bool {
    guard at + token.count <= bytes.count else { return false }
    for i in 0..<token.count where bytes[at + i] != token[i] { return false }
    return true
  }
}
