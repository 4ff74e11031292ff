import Foundation
import Support

/// The data files of a local folder that is laid out like a hub repository.
struct DatasetRepository {
  let folder: String
  /// Paths below the folder, sorted.
  private let files: [String]

  private static let sidecars: Set<String> = [
    "dataset_infos.json", "dataset_info.json", "config.json", "state.json", "args.json",
  ]
  private static let splitWords: [String: Set<String>] = [
    "train": ["train", "training"],
    "validation": ["validation", "valid", "val", "dev"],
    "test": ["test", "testing", "eval", "evaluation"],
  ]

  init(folder: String) {
    self.folder = folder
    var found: [String] = []
    let walk = FileManager.default.enumerator(atPath: folder)
    while let path = walk?.nextObject() as? String {
      let parts = path.split(separator: "/")
      if parts.contains(where: { $0.hasPrefix(".") }) { continue }
      let isParquet = path.hasSuffix(".parquet")
      guard DataFileKind.of(path) != nil || isParquet, let name = parts.last else { continue }
      let plain = name.lowercased()
      if Self.sidecars.contains(plain) || plain.hasPrefix("readme") || plain == "license.txt" {
        continue
      }
      found.append(path)
    }
    files = found.sorted()
  }

  /// The files of one split of one subset, as full paths.
  /// - Throws: `DATA-108` if there are none, naming what is there.
  func files(
    subset: String, others: [String], split: String
  ) throws(Fault) -> [String] {
    let part = try files(subset: subset, others: others)
    let named = part.filter { Self.mentions($0, Self.splitWords[split] ?? [split]) }
    // Files that name no split at all are the training split, as hubs take them.
    let anySplit = part.contains { path in
      Self.splitWords.values.contains { Self.mentions(path, $0) }
    }
    let chosen = named.isEmpty && !anySplit && split == "train" ? part : named
    return chosen.map { "\(folder)/\($0)" }
  }

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
        at: .file(folder), expected: "files that end in .jsonl, .json, .csv or .txt",
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
