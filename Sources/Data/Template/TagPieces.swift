/// A stretch of a text: one of the tags asked for, or what stands between them.
struct TagPiece: Equatable {
  let text: String
  /// The text again if it is a tag.
  let tag: String?
}

extension String {
  /// The text cut at tags of ASCII letters; no piece is empty.
  func pieces(at tags: [String]) -> [TagPiece] {
    let bytes = Array(utf8)
    let marks = tags.map { (name: $0, bytes: Array($0.utf8)) }
    var result: [TagPiece] = []
    var start = 0
    var at = 0
    func flush() {
      guard at > start else { return }
      result.append(TagPiece(text: String(decoding: bytes[start..<at], as: UTF8.self), tag: nil))
    }
    while at < bytes.count {
      guard bytes[at] == UInt8(ascii: "<"),
        let mark = marks.first(where: { bytes[at...].starts(with: $0.bytes) })
      else {
        at += 1
        continue
      }
      flush()
      result.append(TagPiece(text: mark.name, tag: mark.name))
      at += mark.bytes.count
      start = at
    }
    flush()
    return result
  }

  /// The text cut at pairs of marks; what lies inside a pair stands without them. A pair that is
  /// empty or reaches over a line break is none.
  func pieces(between open: String, and close: String) -> [(text: String, isInside: Bool)] {
    var result: [(text: String, isInside: Bool)] = []
    var plain = ""
    var rest = Substring(self)
    while let begin = rest.utf8.firstRange(of: open.utf8) {
      let inside = rest[begin.upperBound...]
      guard let end = inside.utf8.firstRange(of: close.utf8) else { break }
      let text = inside[..<end.lowerBound]
      if text.isEmpty || text.utf8.contains(UInt8(ascii: "\n")) {
        plain += rest[..<begin.upperBound]
        rest = inside
        continue
      }
      result.append((plain + rest[..<begin.lowerBound], false))
      result.append((String(text), true))
      plain = ""
      rest = inside[end.upperBound...]
    }
    result.append((plain + rest, false))
    return result
  }
}
