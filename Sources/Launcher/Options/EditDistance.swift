/// Nearest names for a word that is none.
enum EditDistance {
  /// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
  static func between(_ a: String, _ b: String) -> Int {
    let a = Array(a.utf8)
    let b = Array(b.utf8)
    var beforeLast = [Int](repeating: 0, count: b.count + 1)
    var last = Array(0...b.count)
    for i in 0..<a.count {
      var row = [i + 1]
      for j in 0..<b.count {
        var cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
          cost = min(cost, beforeLast[j - 1] + 1)
        }
        row.append(cost)
      }
      beforeLast = last
      last = row
    }
    return last[b.count]
  }

  /// The candidate with the smallest distance, the first of several.
  /// - Returns: nil without candidates, or for a word too long to be a misspelt name.
  static func nearest(to word: String, among candidates: [String]) -> String? {
    guard word.utf8.count <= 100 else { return nil }
    return candidates.map { ($0, between(word, $0)) }.min { $0.1 < $1.1 }?.0
  }

  /// `; did you mean --lr?`, or empty.
  static func hint(_ word: String, among candidates: [String], quote: (String) -> String) -> String
  {
    guard let near = nearest(to: word, among: candidates) else { return "" }
    let isClose = between(word, near) <= max(1, word.utf8.count / 2)
    return isClose ? "; did you mean \(quote(near))?" : "; the nearest name is \(quote(near))"
  }
}
