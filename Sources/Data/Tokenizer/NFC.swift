import CUTF8Proc
import Foundation

/// Unicode normalization form C (UAX 15) of UTF-8 bytes.
enum NFC {
  static let decomposeOptions = utf8proc_option_t(
    rawValue: UTF8PROC_STABLE.rawValue | UTF8PROC_DECOMPOSE.rawValue)
  private static let composeOptions = utf8proc_option_t(
    rawValue: UTF8PROC_STABLE.rawValue | UTF8PROC_COMPOSE.rawValue)

  /// Whether a text may change: only then is it worth calling `normalize`.
  /// - Parameter bytes: valid UTF-8.
  @inline(__always)
  static func mayChange(_ bytes: UnsafeBufferPointer<UInt8>, _ table: UnicodeTable) -> Bool {
    var at = 0
    while at < bytes.count {
      // Below U+0300 (lead byte 0xCC) nothing changes; those bytes need no decoding.
      if bytes[at] < 0xCC {
        at += 1
        continue
      }
      let (codePoint, length) = UTF8Scan.decode(bytes, at)
      if table[codePoint] & UnicodeTable.unstable != 0 { return true }
      at += length
    }
    return false
  }

  /// The text in form C.
  /// - Parameter bytes: valid UTF-8.
  static func normalize(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8] {
    var result: UnsafeMutablePointer<UInt8>?
    let length = utf8proc_map(bytes.baseAddress, bytes.count, &result, composeOptions)
    defer { free(result) }
    guard length >= 0, let result else {
      // utf8proc gave up for want of memory or size; Foundation works without its buffer.
      let text = String(decoding: bytes, as: UTF8.self)
      return Array(text.precomposedStringWithCanonicalMapping.utf8)
    }
    return Array(UnsafeBufferPointer(start: result, count: length))
  }

  /// The text in form C.
  static func normalize(_ bytes: [UInt8]) -> [UInt8] {
    bytes.withUnsafeBufferPointer { normalize($0) }
  }
}

/// Decoding of UTF-8 that is known to be valid.
enum UTF8Scan {
  /// The code point that begins at `at`, and its length in bytes.
  @inline(__always)
  static func decode(_ bytes: UnsafeBufferPointer<UInt8>, _ at: Int) -> (UInt32, Int) {
    let first = UInt32(bytes[at])
    if first < 0x80 { return (first, 1) }
    if first < 0xE0 { return ((first & 0x1F) << 6 | UInt32(bytes[at + 1] & 0x3F), 2) }
    if first < 0xF0 {
      let middle = UInt32(bytes[at + 1] & 0x3F) << 6
      return ((first & 0x0F) << 12 | middle | UInt32(bytes[at + 2] & 0x3F), 3)
    }
    let middle = UInt32(bytes[at + 1] & 0x3F) << 12 | UInt32(bytes[at + 2] & 0x3F) << 6
    return ((first & 0x07) << 18 | middle | UInt32(bytes[at + 3] & 0x3F), 4)
  }
}

extension UTF8Scan {
  /// Length in bytes of the character that begins with this byte.
  static func length(of first: UInt8) -> Int {
    first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
  }
}
