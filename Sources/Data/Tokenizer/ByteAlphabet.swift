/// The letters that stand for bytes in vocabularies of byte-level tokenizers: printable bytes
/// are themselves, the other 68 are U+0100… in order.
enum ByteAlphabet {
  /// Whether a byte is written as the letter of the same number.
  static func isPlain(_ byte: UInt8) -> Bool {
    (33...126).contains(byte) || (161...172).contains(byte) || byte >= 174
  }

  /// The bytes in the customary order of ids: printable ones first.
  static let order: [UInt8] =
    (0...255).filter(isPlain) + (0...255).filter { !isPlain($0) }

  /// Letter of each byte.
  static let letters: [Unicode.Scalar] = {
    var result = (0...255).map { Unicode.Scalar(UInt8($0)) }
    var next: UInt8 = 0
    for byte in UInt8.min...UInt8.max where !isPlain(byte) {
      // 256 + next is at most U+0143.
      result[Int(byte)] = Unicode.Scalar(UInt16(256) + UInt16(next)) ?? "?"
      next += 1
    }
    return result
  }()

  /// Byte of each letter below U+0144; -1 where a letter stands for no byte.
  private static let bytes: [Int16] = {
    var result = [Int16](repeating: -1, count: 0x144)
    for (byte, letter) in letters.enumerated() { result[Int(letter.value)] = Int16(byte) }
    return result
  }()

  /// The bytes that a token's text stands for, or nil if it holds another character.
  static func decode(_ token: some StringProtocol) -> [UInt8]? {
    let bytes = Self.bytes
    var result: [UInt8] = []
    result.reserveCapacity(token.utf8.count)
    for scalar in token.unicodeScalars {
      guard scalar.value < 0x144, bytes[Int(scalar.value)] >= 0 else { return nil }
      result.append(UInt8(truncatingIfNeeded: bytes[Int(scalar.value)]))
    }
    return result
  }

  /// The text of a token.
  static func encode(_ bytes: some Sequence<UInt8>) -> String {
    var result = String.UnicodeScalarView()
    for byte in bytes { result.append(letters[Int(byte)]) }
    return String(result)
  }
}
