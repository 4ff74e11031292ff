import Foundation
import Support

/// The data files of a repository, on this machine or as a hub lists them: which of them make up a
/// subset and a split.
struct DatasetRepository {
  /// Where the files lie, or the id of the repository: for messages.
  let place: String
  /// Paths below it, sorted.
  private let files: [String]
  /// What the front matter of the README says; it wins over names.
  private let cards: [String: [DatasetCard.DataFiles]]

  private static let sidecars: Set<String> = [
    "dataset_infos.json", "dataset_info.json", "config.json", "state.json", "args.json",
    "configuration.json", "license.txt",
  ]
  private static let splitWords: [String: Set<String>] = [
    "train": ["train", "training"],
    "validation": ["validation", "valid", "val", "dev"],
    "test": ["test", "testing", "eval", "evaluation"],
  ]
  static let card = "README.md"

  /// - Parameters:
  ///   - paths: of all files, below `place`.
  ///   - card: the content of `README.md`, if there is one.
  init(place: String, paths: [String], card: String?) {
    self.place = place
    files = paths.filter(Self.isData).sorted()
    cards = card.map { DatasetCard.configurations($0) } ?? [:]
  }

  /// A folder of this machine.
  init(folder: String) {
    var paths: [String] = []
    let walk = FileManager.default.enumerator(atPath: folder)
    while let path = walk?.nextObject() as? String { paths.append(path) }
    let card = try? AtomicFile.read(folder + "/" + Self.card, limit: 1 << 20)
    self.init(
      place: folder, paths: paths, card: card.map { String(decoding: $0, as: UTF8.self) })
  }

  private static func isData(_ path: String) -> Bool {
    let parts = path.split(separator: "/")
    if parts.contains(where: { $0.hasPrefix(".") }) { return false }
    guard DataFileKind.of(path) != nil, let name = parts.last else { return false }
    let plain = name.lowercased()
    return !sidecars.contains(plain) && !plain.hasPrefix("readme")
  }

  /// The files of one split of one subset, below the folder.
  /// - Throws: `DATA-108` if there is no such subset, naming what is there.
  func files(
    subset: String, others: [String], split: String
  ) throws(Fault) -> [String] {
    if let listed = cards[subset] {
      let patterns = listed.filter { Self.names(split).contains($0.split) }.flatMap(\.patterns)
      let found = files.filter { path in
        patterns.contains { DatasetCard.matches(path, pattern: $0) }
      }
      // A pattern of a kind that is not known is left to the names.
      if !found.isEmpty || patterns.isEmpty { return found }
    }
    let part = try files(subset: subset, others: others)
    let named = part.filter { Self.mentions($0, Self.names(split)) }
    // Files that name no split at all are the training split, as hubs take them.
    let anySplit = part.contains { path in
      Self.splitWords.values.contains { Self.mentions(path, $0) }
    }
    return named.isEmpty && !anySplit && split == "train" ? part : named
  }

  private static func names(_ split: String) -> Set<String> { splitWords[split] ?? [split] }

  private func files(subset: String, others: [String]) throws(Fault) -> [String] {
    let inside = files.filter { Self.belongs($0, to: subset) }
    if !inside.isEmpty { return inside }
    let rest = files.filter { path in
      !others.contains { $0 != subset && Self.belongs(path, to: $0) }
    }
    guard subset == "default", !rest.isEmpty else {
      let folders = Set(
        files.compactMap { $0.contains("/") ? $0.split(separator: "/").first : nil })
      throw Fault(
        .datasetNotFound,
        files.isEmpty
          ? "the folder holds no data file" : "the folder has no subset \"\(subset)\"",
        at: .file(place),
        expected: "files that end in .jsonl, .json, .csv, .txt or .parquet",
        found: folders.isEmpty
          ? files.prefix(10).joined(separator: ", ")
          : folders.sorted().joined(separator: ", "))
    }
    return rest
  }

  /// Whether a path lies in a folder of that name or is a file that begins with it.
  private static func belongs(_ path: String, to subset: String) -> Bool {
    let parts = path.split(separator: "/").map(String.init)
    guard let name = parts.last else { return false }
    let stem = name.split(separator: ".").first.map(String.init) ?? name
    return parts.dropLast().contains(subset) || stem == subset || stem.hasPrefix("\(subset)-")
      || stem.hasPrefix("\(subset)_")
  }

  private static func mentions(_ path: String, _ words: Set<String>) -> Bool {
    path.lowercased().split { !$0.isLetter && !$0.isNumber }.contains { words.contains(String($0)) }
  }
}
