extension Tokenizer {
  /// The text of ids. What is not UTF-8 becomes U+FFFD, one for each maximal bad part; an id
  /// without a token gives nothing.
  /// - Parameter skipSpecial: leaves special tokens out.
  public func decode(_ ids: some Sequence<Int32>, skipSpecial: Bool = false) -> String {
    var bytes: [UInt8] = []
    for id in ids where id >= 0 && Int(id) < tokens.count {
      if skipSpecial && isSpecial[Int(id)] { continue }
      bytes += tokens.bytes[tokens.range(of: Int(id))]
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Decodes ids that come one after the other, giving text as soon as its characters are whole.
public struct TokenStreamDecoder: Sendable {
  private let tokenizer: Tokenizer
  private let skipSpecial: Bool
  private var pending: [UInt8] = []

  public init(_ tokenizer: Tokenizer, skipSpecial: Bool = false) {
    self.tokenizer = tokenizer
    self.skipSpecial = skipSpecial
  }

  /// The text that is certain after one more id; bytes of an open character are held back.
  public mutating func append(_ id: Int32) -> String {
    guard id >= 0, Int(id) < tokenizer.tokens.count,
      !(skipSpecial && tokenizer.isSpecial[Int(id)])
    else { return "" }
    pending += tokenizer.tokens.bytes[tokenizer.tokens.range(of: Int(id))]
    let whole = pending.count - Self.openTail(pending)
    defer { pending.removeFirst(whole) }
    return String(decoding: pending[..<whole], as: UTF8.self)
  }

  /// The rest; an open character becomes U+FFFD.
  public mutating func finish() -> String {
    defer { pending.removeAll() }
    return String(decoding: pending, as: UTF8.self)
  }

  /// Bytes at the end that may begin a character which further bytes complete.
  private static func openTail(_ bytes: [UInt8]) -> Int {
    for back in 1...3 where back <= bytes.count {
      let byte = bytes[bytes.count - back]
      if byte < 0x80 { return 0 }
      if byte >= 0xC0 {
        let length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2
        return back < length ? back : 0
      }
    }
    return 0
  }
}
