import CUTF8Proc

/// What the pre-tokenizer and the normalizer must know about a code point, one byte each, in two
/// stages: 256 code points share a block, equal blocks are stored once.
struct UnicodeTable: Sendable {
  /// Classes of the split pattern of Qwen: `\p{L}`, `\p{N}`, `\s`, line ends, the rest.
  static let letter: UInt8 = 1
  static let number: UInt8 = 2
  static let space: UInt8 = 4
  /// CR or LF; `space` is set too.
  static let lineEnd: UInt8 = 8
  /// A text that holds this code point may change under NFC.
  static let unstable: UInt8 = 16

  private let blockOf: [UInt16]
  private let flags: [UInt8]

  /// Built once per process, on first use (some milliseconds).
  static let shared = UnicodeTable()

  private init() {
    var blockOf: [UInt16] = []
    var flags: [UInt8] = []
    var seen: [[UInt8]: UInt16] = [:]
    for block in 0..<(0x11_0000 / 256) {
      let entries = (0..<256).map { Self.classify(Int32(block * 256 + $0)) }
      if let known = seen[entries] {
        blockOf.append(known)
        continue
      }
      let index = UInt16(seen.count)
      seen[entries] = index
      blockOf.append(index)
      flags += entries
    }
    self.blockOf = blockOf
    self.flags = flags
  }

  /// The flags of a code point below 0x110000.
  @inline(__always)
  subscript(codePoint: UInt32) -> UInt8 {
    flags[Int(blockOf[Int(codePoint >> 8)]) << 8 | Int(codePoint & 0xFF)]
  }

  private static func classify(_ codePoint: Int32) -> UInt8 {
    var result: UInt8 = 0
    let category = utf8proc_category(codePoint)
    switch category {
    case UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LL, UTF8PROC_CATEGORY_LT, UTF8PROC_CATEGORY_LM,
      UTF8PROC_CATEGORY_LO:
      result = letter
    case UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NL, UTF8PROC_CATEGORY_NO: result = number
    case UTF8PROC_CATEGORY_ZS, UTF8PROC_CATEGORY_ZL, UTF8PROC_CATEGORY_ZP: result = space
    default: break
    }
    if codePoint == 0x0A || codePoint == 0x0D { result = space | lineEnd }
    // The other controls of White_Space are TAB, VT, FF and NEL.
    if codePoint == 0x09 || codePoint == 0x0B || codePoint == 0x0C || codePoint == 0x85 {
      result = space
    }
    if mayChangeUnderNFC(codePoint, category) { result |= unstable }
    return result
  }

  /// Marks and conjoining jamo may join with what stands before them; the rest changes only if
  /// its own decomposition does not compose back (UAX 15, quick check).
  private static func mayChangeUnderNFC(_ codePoint: Int32, _ category: utf8proc_category_t) -> Bool
  {
    if codePoint < 0x300 || (0xD800..<0xE000).contains(codePoint) { return false }
    switch category {
    case UTF8PROC_CATEGORY_CN: return false
    case UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_MC, UTF8PROC_CATEGORY_ME: return true
    default: break
    }
    if (0x1100..<0x1200).contains(codePoint) { return true }
    // Hangul syllables decompose and always compose back.
    if (0xAC00..<0xD7A4).contains(codePoint) { return false }
    guard let scalar = Unicode.Scalar(UInt32(codePoint)) else { return false }
    var parts = [Int32](repeating: 0, count: 32)
    var boundary: Int32 = 0
    let count = utf8proc_decompose_char(
      codePoint, &parts, parts.count, NFC.decomposeOptions, &boundary)
    if count == 1 && parts[0] == codePoint { return false }
    let bytes = Array(String(scalar).utf8)
    return NFC.normalize(bytes) != bytes
  }
}
