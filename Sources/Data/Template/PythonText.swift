/// Text rules of Python that differ from Swift's.
enum PythonText {
  /// What `str.isspace` and `\s` take for white space.
  static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
    (0x1C...0x1F).contains(scalar.value) || scalar.properties.isWhitespace
  }

  /// `str.strip`.
  static func strip(_ text: Substring) -> String {
    let scalars = text.unicodeScalars
    guard let first = scalars.firstIndex(where: { !isSpace($0) }),
      let last = scalars.lastIndex(where: { !isSpace($0) })
    else { return "" }
    return String(text.unicodeScalars[first...last])
  }

  // Swift compares texts by grapheme clusters and canonical equivalence: "\r\n" does not end
  // with "\n" there. These compare code points.

  static func hasPrefix(_ text: String, _ prefix: String) -> Bool {
    text.utf8.starts(with: prefix.utf8)
  }

  static func hasSuffix(_ text: String, _ suffix: String) -> Bool {
    text.utf8.count >= suffix.utf8.count
      && text.utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
  }

  static func contains(_ text: String, _ part: String) -> Bool {
    text.utf8.firstRange(of: part.utf8) != nil
  }

  /// What follows the last `mark`, or all of the text: `text.split(mark)[-1]`.
  static func afterLast(_ mark: String, in text: String) -> Substring {
    guard let last = text.utf8.ranges(of: mark.utf8).last else { return text[...] }
    return text[last.upperBound...]
  }
}
