import Support

/// What the front matter of a data set's README says of its files: for each configuration the patterns
/// of each split (`configs`, `data_files`).
///
/// Of YAML what such cards use is read: mappings and lists by indentation, lists in brackets, plain and
/// quoted texts. A card that cannot be read says nothing.
enum DatasetCard {
  struct DataFiles: Equatable {
    let split: String
    let patterns: [String]
  }

  /// By the name of the configuration.
  static func configurations(_ readme: String) -> [String: [DataFiles]] {
    var found: [String: [DataFiles]] = [:]
    for item in YAMLBlock.read(frontMatter(readme))["configs"].items {
      guard let name = item["config_name"].text else { continue }
      let files = item["data_files"]
      if let parts = files.list, parts.contains(where: { $0["split"].text != nil }) {
        found[name] = parts.compactMap { part in
          part["split"].text.map { DataFiles(split: $0, patterns: part["path"].texts) }
        }
      } else if let splits = files.mapping {
        found[name] = splits.map { DataFiles(split: $0.0, patterns: $0.1.texts) }
      } else if !files.texts.isEmpty {
        found[name] = [DataFiles(split: "train", patterns: files.texts)]
      }
    }
    return found
  }

  private static func frontMatter(_ readme: String) -> [Substring] {
    let lines = readme.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    guard lines.first?.hasPrefix("---") == true,
      let end = lines.dropFirst().firstIndex(where: { $0.hasPrefix("---") })
    else { return [] }
    return Array(lines[1..<end])
  }

  /// Whether a path fits a pattern: `*` within a part, `**` over parts, `?` one character.
  static func matches(_ path: String, pattern: String) -> Bool {
    var pattern = Substring(pattern)
    if pattern.hasPrefix("./") { pattern = pattern.dropFirst(2) }
    return fits(
      path.split(separator: "/")[...], pattern.split(separator: "/")[...])
  }

  private static func fits(
    _ path: ArraySlice<Substring>, _ pattern: ArraySlice<Substring>
  ) -> Bool {
    guard let first = pattern.first else { return path.isEmpty }
    if first == "**" {
      return fits(path, pattern.dropFirst()) || (!path.isEmpty && fits(path.dropFirst(), pattern))
    }
    guard let part = path.first, partFits(Array(part.utf8), Array(first.utf8)) else { return false }
    return fits(path.dropFirst(), pattern.dropFirst())
  }

  /// Wildcards within one part, in time that grows with the product of the lengths at most.
  private static func partFits(_ text: [UInt8], _ pattern: [UInt8]) -> Bool {
    var (at, star, mark) = (0, -1, 0)
    var place = 0
    while at < text.count {
      if place < pattern.count, pattern[place] == UInt8(ascii: "*") {
        (star, mark) = (place, at)
        place += 1
      } else if place < pattern.count,
        pattern[place] == text[at] || pattern[place] == UInt8(ascii: "?")
      {
        (at, place) = (at + 1, place + 1)
      } else if star >= 0 {
        (place, mark) = (star + 1, mark + 1)
        at = mark
      } else {
        return false
      }
    }
    return pattern[place...].allSatisfy { $0 == UInt8(ascii: "*") }
  }
}
