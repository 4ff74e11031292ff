/// Turns texts into ids with one thread's own memory; keep one per worker.
public struct TokenEncoder {
  private let tokenizer: Tokenizer
  private let table = UnicodeTable.shared
  private var merger: PieceMerger

  public init(_ tokenizer: Tokenizer) {
    self.tokenizer = tokenizer
    merger = PieceMerger(byteIDs: tokenizer.byteIDs, merges: tokenizer.merges)
  }

  /// Ids of a text. No begin or end token is added.
  public mutating func encode(_ text: String) -> [Int32] {
    var out: [Int32] = []
    encode(text, into: &out)
    return out
  }

  /// Appends the ids of a text.
  public mutating func encode(_ text: String, into out: inout [Int32]) {
    var text = text
    text.withUTF8 { bytes in
      split(bytes, at: tokenizer.rawMatcher, into: &out) { encoder, part, out in
        encoder.encodePart(part, into: &out)
      }
    }
  }

  /// Cuts at added tokens; the rest goes to `encodeRest`.
  private mutating func split(
    _ bytes: UnsafeBufferPointer<UInt8>, at matcher: AddedTokenMatcher, into out: inout [Int32],
    encodeRest: (inout TokenEncoder, UnsafeBufferPointer<UInt8>, inout [Int32]) -> Void
  ) {
    var start = 0
    while start < bytes.count {
      let found = matcher.next(in: bytes, from: start)
      let end = found?.range.lowerBound ?? bytes.count
      if end > start {
        encodeRest(&self, UnsafeBufferPointer(rebasing: bytes[start..<end]), &out)
      }
      guard let found else { return }
      out.append(found.id)
      start = found.range.upperBound
    }
  }

  private mutating func encodePart(_ part: UnsafeBufferPointer<UInt8>, into out: inout [Int32]) {
    if tokenizer.normalizesToNFC && NFC.mayChange(part, table) {
      NFC.normalize(part).withUnsafeBufferPointer { encodeNormalized($0, into: &out) }
    } else {
      encodeNormalized(part, into: &out)
    }
  }

  private mutating func encodeNormalized(
    _ part: UnsafeBufferPointer<UInt8>, into out: inout [Int32]
  ) {
    if tokenizer.normalizedMatcher.isEmpty { return encodePieces(part, into: &out) }
    split(part, at: tokenizer.normalizedMatcher, into: &out) { encoder, rest, out in
      encoder.encodePieces(rest, into: &out)
    }
  }

  private mutating func encodePieces(
    _ part: UnsafeBufferPointer<UInt8>, into out: inout [Int32]
  ) {
    let tokens = tokenizer.tokens
    var scanner = PieceScanner(part, table)
    var start = 0
    while let end = scanner.next() {
      let piece = UnsafeBufferPointer(rebasing: part[start..<end])
      if let id = tokens.find(piece) {
        out.append(id)
      } else {
        merger.merge(piece, into: &out)
      }
      start = end
    }
  }
}
