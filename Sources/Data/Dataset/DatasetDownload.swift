import Hub
import Support

/// Finds the folder of a data set that is named by an id: in the caches of the hubs, else by download.
struct DatasetDownload {
  let word: DatasetWord
  let entry: DatasetRegistration
  let isRegistered: Bool
  let options: SourceOptions

  /// - Throws: `DATA-108` when it is nowhere and nothing may be downloaded, `HUB-10x`.
  func folder() throws(Fault) -> String {
    let names = names
    let caches = options.caches
    func local(_ isComplete: (String) -> Bool) -> String? {
      for name in names {
        let found = caches.places(name).first { folder in
          Folder.kind(folder) == .folder && !HubClient.isUnfinished(folder) && isComplete(folder)
        }
        if let found { return found }
      }
      return nil
    }
    if !options.isFresh, let folder = local(isComplete) { return folder }
    guard let hub = options.hub, let name = names.first else {
      // What is missing in it is told by who reads it.
      if let folder = local({ _ in true }) { return folder }
      throw missing(names.flatMap { caches.places($0) })
    }
    return try hub.folder(
      of: name, isFresh: options.isFresh, isComplete: isComplete,
      choose: { (files, fetch) throws(Fault) in try choose(files, fetch, name) })
  }

  /// The repositories that the word may mean, the hub that is asked first.
  private var names: [RepositoryName] {
    let first: HubService =
      (word.hub ?? (options.useHuggingFace ? .huggingFace : .modelScope)) == .huggingFace
      ? .huggingFace : .modelScope
    let order = [first] + HubService.allCases.filter { $0 != first }
    return order.compactMap { service in
      let registered = service == .huggingFace ? entry.huggingFaceID : entry.modelScopeID
      guard let id = isRegistered ? registered : word.name else { return nil }
      return RepositoryName(id, .dataset, in: service)
    }
  }

  /// Whether a folder has files of every subset that is asked for, and the clips.
  private func isComplete(_ folder: String) -> Bool {
    guard let files = try? wanted(DatasetRepository(folder: folder)), !files.isEmpty else {
      return false
    }
    guard entry.kind == .videoChat else { return true }
    return [DatasetRegistration.clipFolder, DatasetRegistration.clipArchive].contains {
      Folder.kind(folder + "/" + $0) != .nothing
    }
  }

  /// The data files that the word means.
  private func wanted(_ repository: DatasetRepository) throws(Fault) -> [String] {
    let others = entry.subsets.map(\.subset)
    var files: [String] = []
    for subset in try entry.select(word.subsets, word: word.name) {
      for split in subset.splits ?? entry.splits {
        files += try repository.files(subset: subset.subset, others: others, split: split)
      }
    }
    return files
  }

  /// Which files of the hub are downloaded: the card first, since it may tell which files are meant.
  private func choose(
    _ files: [RemoteFile], _ fetch: (RemoteFile) throws(Fault) -> [UInt8], _ name: RepositoryName
  ) throws(Fault) -> [RemoteFile] {
    let card = files.first { $0.path == DatasetRepository.card && $0.size <= 1 << 20 }
    let text = try card.map { (file) throws(Fault) in
      String(decoding: try fetch(file), as: UTF8.self)
    }
    let repository = DatasetRepository(
      place: "\(name.service.title) \(name.id)", paths: files.map(\.path), card: text)
    var paths = Set(try wanted(repository))
    guard !paths.isEmpty else {
      throw Fault(
        .datasetNotFound,
        "the data set \(name.id) has no file of the splits "
          + entry.splits.joined(separator: ", "), at: .flag("dataset"),
        found: files.prefix(10).map(\.path).joined(separator: ", "))
    }
    if entry.kind == .videoChat { paths.insert(DatasetRegistration.clipArchive) }
    return files.filter { paths.contains($0.path) || $0.path == card?.path }
  }

  private func missing(_ tried: [String]) -> Fault {
    Fault(
      .datasetNotFound, "the data set \(word.name) is not on this machine", at: .flag("dataset"),
      expected: "a file, a folder, an id such as owner/name, or a downloaded clone",
      found: tried.isEmpty ? "no such file" : "nothing at " + tried.joined(separator: ", "),
      fix: "download it where there is a network, then give the path of the folder")
  }
}
