import Foundation
import Support

/// One word of `--dataset`: `[hub::]NAME[:SUBSET[/SUBSET]][#COUNT]`.
public struct DatasetWord: Sendable, Equatable {
  public enum Hub: String, Sendable { case huggingFace = "hf", modelScope = "ms" }

  public var hub: Hub?
  public var name: String
  public var subsets: [String] = []
  public var count: Int?

  /// Takes a word apart. What exists on disk is taken whole, so names may hold `#`, `:` and `::`.
  /// - Throws: `DATA-105` for a count that is no positive whole number, or an empty name.
  public init(parsing word: String) throws(Fault) {
    let exists = FileManager.default.fileExists(atPath:)
    var rest = word
    if !exists(rest), let mark = rest.range(of: "::") {
      hub = Hub(rawValue: String(rest[..<mark.lowerBound]).trimmed.lowercased())
      rest = String(rest[mark.upperBound...])
    }
    if !exists(rest), let mark = rest.lastIndex(of: "#") {
      count = try Self.count(rest[rest.index(after: mark)...], in: word)
      rest = String(rest[..<mark])
    }
    if !exists(rest), let mark = rest.firstIndex(of: ":") {
      subsets = rest[rest.index(after: mark)...].split(separator: "/")
        .map { String($0).trimmed }.filter { !$0.isEmpty }
      rest = String(rest[..<mark])
    }
    name = exists(rest) ? rest : rest.trimmed
    guard !name.isEmpty else {
      throw Fault(
        .badDatasetWord, "\"\(word)\" names no data set", at: .flag("dataset"),
        expected: "[hf::|ms::]NAME[:SUBSET][#COUNT]")
    }
  }

  private static func count(_ text: Substring, in word: String) throws(Fault) -> Int {
    guard let count = Int(String(text).trimmed), count > 0 else {
      throw Fault(
        .badDatasetWord, "\"\(word)\": the number after # must be a whole number of at least 1",
        at: .flag("dataset"), found: String(text), fix: "write for example NAME#500")
    }
    return count
  }
}

extension String {
  fileprivate var trimmed: String { trimmingCharacters(in: .whitespaces) }
}
