import Foundation
import Support

/// Where data sets are looked for.
public struct SourceOptions: Sendable, Equatable {
  /// `--dataset`, `--val_dataset`.
  public var train: [String] = []
  public var validation: [String] = []
  /// `--cached_dataset`: files of rows that were encoded before.
  public var cached: [String] = []
  /// `--custom_dataset_info`: registry files.
  public var customInfo: [String] = []
  /// `--use_hf`: which hub an id without prefix belongs to.
  public var useHuggingFace = false
  /// Folders of downloaded data sets, from `HubCaches.folders`.
  public var caches = HubCaches(environment: [:])
  public init() {}
}

/// Where the two hubs keep what was downloaded.
public struct HubCaches: Sendable, Equatable {
  let huggingFace: String
  let modelScope: String

  /// - Parameter environment: of the process; `HF_HUB_CACHE`, `HF_HOME`, `MODELSCOPE_CACHE` and
  ///   `HOME` count.
  public init(environment: [String: String]) {
    let home = environment["HOME"] ?? NSHomeDirectory()
    let cache = environment["XDG_CACHE_HOME"] ?? "\(home)/.cache"
    huggingFace =
      environment["HF_HUB_CACHE"] ?? "\(environment["HF_HOME"] ?? "\(cache)/huggingface")/hub"
    modelScope = environment["MODELSCOPE_CACHE"] ?? "\(cache)/modelscope/hub"
  }

  /// Folders that may hold a clone of an id, most likely first.
  func candidates(modelScopeID: String?, huggingFaceID: String?, hub: DatasetWord.Hub) -> [String] {
    var folders: [String] = []
    let fromHuggingFace = huggingFaceID.map {
      "\(huggingFace)/datasets--" + $0.replacing("/", with: "--")
    }
    let fromModelScope =
      modelScopeID.map { ["\(modelScope)/datasets/\($0)", "\(modelScope)/\($0)"] } ?? []
    folders = hub == .huggingFace ? [] : fromModelScope
    if let fromHuggingFace { folders.append(fromHuggingFace) }
    if hub == .huggingFace { folders += fromModelScope }
    return folders
  }

  /// The newest snapshot below a folder of the Hugging Face cache, or the folder itself.
  static func snapshot(of folder: String) -> String? {
    let files = FileManager.default
    guard files.fileExists(atPath: folder) else { return nil }
    let snapshots = "\(folder)/snapshots"
    guard let names = try? files.contentsOfDirectory(atPath: snapshots), !names.isEmpty else {
      return folder
    }
    if let main = try? String(contentsOfFile: "\(folder)/refs/main", encoding: .utf8) {
      let name = main.trimmingCharacters(in: .whitespacesAndNewlines)
      if names.contains(name) { return "\(snapshots)/\(name)" }
    }
    return names.sorted().last.map { "\(snapshots)/\($0)" }
  }
}

/// Files that are read as one data set, with the way their rows are read.
struct DatasetSource: Sendable {
  /// Files that share their columns: one subset and split.
  struct Part: Sendable {
    var files: [String]
    var columns: [String: String]
    var preset: RowPreset
  }

  var word: String
  var parts: [Part]
  var count: Int?

  /// Finds the files of a word of `--dataset`.
  /// - Throws: `DATA-105` for a bad word, `DATA-108` if the data are not on this machine.
  init(
    word text: String, registry: DatasetRegistry, options: SourceOptions
  ) throws(Fault) {
    let word = try DatasetWord(parsing: text)
    self.word = text
    count = word.count
    let registration = registry.find(word.name)
    let place = try Self.locate(word, registration: registration, options: options)
    var isFolder: ObjCBool = false
    _ = FileManager.default.fileExists(atPath: place, isDirectory: &isFolder)
    let entry = registration ?? DatasetRegistration()
    guard isFolder.boolValue else {
      guard word.subsets.isEmpty else {
        throw Fault(
          .badDatasetWord, "\"\(text)\": a file has no subsets", at: .flag("dataset"))
      }
      parts = [Part(files: [place], columns: entry.columns, preset: Self.preset(entry, "."))]
      return
    }
    parts = try Self.folderParts(place, entry: entry, word: word)
  }

  private static func folderParts(
    _ folder: String, entry: DatasetRegistration, word: DatasetWord
  ) throws(Fault) -> [Part] {
    let repository = DatasetRepository(folder: folder)
    let preset = preset(entry, folder)
    if case .videoChat(let clips) = preset, !FileManager.default.fileExists(atPath: clips) {
      throw Fault(
        .datasetNotFound, "the clips are not unpacked", at: .file(folder), expected: clips,
        fix: "unpack videos.zip in that folder")
    }
    var parts: [Part] = []
    for subset in try entry.select(word.subsets, word: word.name) {
      let columns = entry.columns.merging(subset.columns) { _, own in own }
      for split in subset.splits ?? entry.splits {
        let files = try repository.files(
          subset: subset.subset, others: entry.subsets.map(\.subset), split: split)
        if !files.isEmpty { parts.append(Part(files: files, columns: columns, preset: preset)) }
      }
    }
    guard !parts.isEmpty else {
      throw Fault(
        .datasetNotFound,
        "the folder has no file of the splits "
          + entry.splits.joined(separator: ", "), at: .file(folder))
    }
    return parts
  }

  private static func preset(_ entry: DatasetRegistration, _ folder: String) -> RowPreset {
    switch entry.kind {
    case .common: return .none
    case .chineseAlpaca: return .chineseAlpaca
    case .latexOCR: return .latexOCR
    case .videoChat: return .videoChat(clips: "\(folder)/Test_Videos")
    }
  }

  private static func locate(
    _ word: DatasetWord, registration: DatasetRegistration?, options: SourceOptions
  ) throws(Fault) -> String {
    let exists = FileManager.default.fileExists(atPath:)
    let name = (word.name as NSString).expandingTildeInPath
    if exists(name) { return name }
    if let path = registration?.path, registration?.name == word.name || path == word.name {
      guard exists(path) else {
        throw Fault(
          .datasetNotFound, "the registered data set \(word.name) is not there", at: .file(path))
      }
      return path
    }
    guard !name.hasPrefix("/"), DataFileKind.of(name) == nil else {
      throw Fault(
        .datasetNotFound, "the data file or folder does not exist", at: .file(name),
        fix: "mend the path after --dataset")
    }
    let hub = word.hub ?? (options.useHuggingFace ? .huggingFace : .modelScope)
    let tried = options.caches.candidates(
      modelScopeID: registration.map { $0.modelScopeID } ?? word.name,
      huggingFaceID: registration.map { $0.huggingFaceID } ?? word.name, hub: hub)
    for folder in tried {
      if let found = HubCaches.snapshot(of: folder) { return found }
    }
    throw Fault(
      .datasetNotFound, "the data set \(word.name) is not on this machine", at: .flag("dataset"),
      expected: "a file, a folder, or a downloaded clone",
      found: "nothing at " + tried.joined(separator: ", "),
      fix: "download it where there is a network, then give the path of the folder")
  }
}
