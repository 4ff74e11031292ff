import Foundation
import Hub
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
  /// `--download_mode force_redownload`.
  public var isFresh = false
  /// Folders of downloaded data sets.
  public var caches = HubCaches(environment: [:])
  /// Downloads what is missing; nil: nothing is downloaded.
  public var hub: HubClient?
  /// Where archives of clips are unpacked; a folder of the user's own, because what lies there is
  /// trusted.
  public var clipFolder = NSHomeDirectory() + "/.cache/megatron-sft/clips"
  public init() {}

  /// Caches, hub and folder for clips as the environment tells.
  public mutating func use(_ hub: HubClient, environment: [String: String]) {
    self.hub = hub
    caches = hub.settings.caches
    if let cache = environment["XDG_CACHE_HOME"] ?? environment["HOME"].map({ $0 + "/.cache" }) {
      clipFolder = cache + "/megatron-sft/clips"
    }
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

  /// Finds the files of a word of `--dataset`, and downloads them when they are an id's and missing.
  /// - Throws: `DATA-105` for a bad word, `DATA-108` if the data are not on this machine, `HUB-10x`
  ///   if they cannot be downloaded.
  init(
    word text: String, registry: DatasetRegistry, options: SourceOptions
  ) throws(Fault) {
    let word = try DatasetWord(parsing: text)
    self.word = text
    count = word.count
    let registration = registry.find(word.name)
    let entry = registration ?? DatasetRegistration()
    let place: String
    if let local = try Self.local(word, registration: registration) {
      place = local
    } else {
      place = try DatasetDownload(
        word: word, entry: entry, isRegistered: registration != nil, options: options
      ).folder()
    }
    guard Folder.kind(place) == .folder else {
      guard word.subsets.isEmpty else {
        throw Fault(
          .badDatasetWord, "\"\(text)\": a file has no subsets", at: .flag("dataset"))
      }
      parts = [
        Part(
          files: [place], columns: entry.columns,
          preset: try Self.preset(entry, Folder.parent(place), options))
      ]
      return
    }
    parts = try Self.folderParts(place, entry: entry, word: word, options)
  }

  private static func folderParts(
    _ folder: String, entry: DatasetRegistration, word: DatasetWord, _ options: SourceOptions
  ) throws(Fault) -> [Part] {
    let repository = DatasetRepository(folder: folder)
    let preset = try preset(entry, folder, options)
    let others = entry.subsets.map(\.subset)
    var parts: [Part] = []
    for subset in try entry.select(word.subsets, word: word.name) {
      for split in subset.splits ?? entry.splits {
        let files = try repository.files(subset: subset.subset, others: others, split: split)
        let columns = subset.columns.isEmpty ? entry.columns : subset.columns
        if !files.isEmpty {
          parts.append(
            Part(files: files.map { "\(folder)/\($0)" }, columns: columns, preset: preset))
        }
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

  private static func preset(
    _ entry: DatasetRegistration, _ folder: String, _ options: SourceOptions
  ) throws(Fault) -> RowPreset {
    switch entry.kind {
    case .common: return .none
    case .chineseAlpaca: return .chineseAlpaca
    case .latexOCR: return .latexOCR
    case .videoChat:
      let clips = folder + "/" + DatasetRegistration.clipFolder
      if Folder.kind(clips) == .folder { return .videoChat(clips: clips) }
      let archive = folder + "/" + DatasetRegistration.clipArchive
      guard Folder.kind(archive) == .file else {
        throw Fault(
          .datasetNotFound, "the clips are not there", at: .file(folder),
          expected: "\(clips), or \(DatasetRegistration.clipArchive) beside it",
          fix: "copy videos.zip into that folder")
      }
      return .videoChat(
        clips: try ClipArchive(path: archive, cache: options.clipFolder).clips())
    }
  }

  /// A file or folder of this machine, nil for an id.
  private static func local(
    _ word: DatasetWord, registration: DatasetRegistration?
  ) throws(Fault) -> String? {
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
    return nil
  }
}
