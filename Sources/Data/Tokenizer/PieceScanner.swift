/// Cuts a text into the pieces that byte-pair merging may not cross.
///
/// By hand, on UTF-8 bytes, the same as the split pattern of Qwen's tokenizer, whose
/// alternatives are tried in this order at each place:
///
///     (?i:'s|'t|'re|'ve|'m|'ll|'d)      a contraction
///     [^\r\n\p{L}\p{N}]?\p{L}+          letters, with one character before them
///     \p{N}                             ONE number character
///      ?[^\s\p{L}\p{N}]+[\r\n]*         marks and symbols, then line ends
///     \s*[\r\n]+                        white space up to its last line end
///     \s+(?!\S)                         white space but its last character before text
///     \s+
struct PieceScanner {
  let bytes: UnsafeBufferPointer<UInt8>
  let table: UnicodeTable
  private(set) var at = 0

  /// - Parameter bytes: valid UTF-8.
  init(_ bytes: UnsafeBufferPointer<UInt8>, _ table: UnicodeTable) {
    self.bytes = bytes
    self.table = table
  }

  /// The end of the piece that begins at `at`, which moves there; nil at the end of the text.
  @inline(__always)
  mutating func next() -> Int? {
    guard at < bytes.count else { return nil }
    at = end(of: at)
    return at
  }

  @inline(__always)
  private func look(_ at: Int) -> (flags: UInt8, length: Int) {
    let (codePoint, length) = UTF8Scan.decode(bytes, at)
    return (table[codePoint], length)
  }

  @inline(__always)
  private func end(of start: Int) -> Int {
    if bytes[start] == UInt8(ascii: "'"), let end = contraction(start) { return end }
    let (flags, length) = look(start)
    let next = start + length
    if flags & UnicodeTable.letter != 0 { return letters(from: next) }
    if flags & UnicodeTable.number != 0 { return next }
    if flags & UnicodeTable.lineEnd == 0, next < bytes.count,
      look(next).flags & UnicodeTable.letter != 0
    {
      return letters(from: next)
    }
    if flags & UnicodeTable.space == 0 { return symbols(from: next) }
    if bytes[start] == UInt8(ascii: " "), next < bytes.count, isSymbol(look(next).flags) {
      return symbols(from: next)
    }
    return whiteSpace(from: start)
  }

  @inline(__always)
  private func isSymbol(_ flags: UInt8) -> Bool {
    flags & (UnicodeTable.letter | UnicodeTable.number | UnicodeTable.space) == 0
  }

  @inline(__always)
  private func letters(from start: Int) -> Int {
    var at = start
    while at < bytes.count {
      let (flags, length) = look(at)
      if flags & UnicodeTable.letter == 0 { break }
      at += length
    }
    return at
  }

  private func symbols(from start: Int) -> Int {
    var at = start
    while at < bytes.count {
      let (flags, length) = look(at)
      if !isSymbol(flags) { break }
      at += length
    }
    while at < bytes.count, bytes[at] == 0x0A || bytes[at] == 0x0D { at += 1 }
    return at
  }

  private func whiteSpace(from start: Int) -> Int {
    var at = start
    var last = start
    var afterLineEnd = start
    while at < bytes.count {
      let (flags, length) = look(at)
      if flags & UnicodeTable.space == 0 { break }
      last = at
      at += length
      if flags & UnicodeTable.lineEnd != 0 { afterLineEnd = at }
    }
    if afterLineEnd > start { return afterLineEnd }
    // The last blank before a text belongs to that text, unless it is the only one.
    return at == bytes.count || last == start ? at : last
  }

  /// The end of a contraction at an apostrophe. Case folding makes U+017F (long s) an s.
  private func contraction(_ start: Int) -> Int? {
    guard start + 1 < bytes.count else { return nil }
    let first = bytes[start + 1] | 0x20
    if first == UInt8(ascii: "s") || first == UInt8(ascii: "t") || first == UInt8(ascii: "m")
      || first == UInt8(ascii: "d")
    {
      return isASCIILetter(bytes[start + 1]) ? start + 2 : nil
    }
    guard start + 2 < bytes.count else { return nil }
    if bytes[start + 1] == 0xC5 && bytes[start + 2] == 0xBF { return start + 3 }
    let second = bytes[start + 2] | 0x20
    guard isASCIILetter(bytes[start + 1]), isASCIILetter(bytes[start + 2]) else { return nil }
    switch (first, second) {
    case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
      (UInt8(ascii: "l"), UInt8(ascii: "l")):
      return start + 3
    default: return nil
    }
  }

  private func isASCIILetter(_ byte: UInt8) -> Bool {
    (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
  }
}
