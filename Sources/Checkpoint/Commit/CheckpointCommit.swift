import Support

/// One save: files go to a hidden folder, which gets its name only when all is flushed.
///
///     .tmp_iter_0000120_<id>/   written and flushed by all ranks
///     manifest.json             by rank 0: sizes and checksums of all files
///     → iter_0000120            one rename, parent flushed
///     tracker                   temporary file, rename, parent flushed
///
/// A crash at any point leaves the old tracker with its whole checkpoint, or the new one with its.
/// All ranks make the same value; `id` is shared by the caller.
public struct CheckpointCommit: Sendable {
  public let root: String
  public let name: CheckpointName
  public let id: String
  private let probe: CommitProbe

  static let temporaryPrefix = ".tmp_"
  static let oldPrefix = ".old_"
  static let trashPrefix = ".trash_"

  public init(
    root: String, name: CheckpointName, id: String, probe: CommitProbe = .none
  ) {
    self.root = root
    self.name = name
    self.id = id
    self.probe = probe
  }

  /// Where the ranks write.
  public var staging: String { "\(root)/\(Self.temporaryPrefix)\(name.folder)_\(id)" }
  private var target: String { root + "/" + name.folder }

  /// Rank 0, before the others write.
  /// - Throws: `FILE-003`.
  public func prepare() throws(Fault) {
    try Folder.make(root)
    try Folder.make(staging)
  }

  /// Rank 0, after any rank failed: removes what was written. The training state is untouched.
  public func abandon() throws(Fault) { try Folder.remove(staging) }

  /// Rank 0, after all ranks have written and `TorchDistWriter.finish` has run.
  /// - Parameters:
  ///   - files: all files of the folder, for the manifest.
  ///   - info: kept in the manifest: options, data position.
  /// - Throws: `FILE-003`; up to the rename the caller may `abandon`.
  public func finish(files: [WrittenFile], info: JSONObject = JSONObject()) throws(Fault) {
    var iteration = 0
    if case .iteration(let number) = name { iteration = number }
    try probe.at(.beforeManifest)
    let manifest = Manifest(iteration: iteration, info: info, files: files)
    try manifest.checkSizes(staging)
    let text = Array(manifest.text.utf8)
    let file = try PosixFile(creating: staging + "/" + Manifest.fileName)
    let half = text.count / 2
    try Array(text[..<half]).withRaw { (raw) throws(Fault) in try file.write(raw, at: 0) }
    try probe.at(.midManifest)
    try Array(text[half...]).withRaw { (raw) throws(Fault) in try file.write(raw, at: half) }
    try file.sync()
    try Folder.sync(staging)
    try probe.at(.afterManifest)
    let aside = try swap()
    try probe.at(.beforeTracker)
    try Tracker.write(name, to: root)
    try probe.at(.afterTracker)
    if let aside { try Folder.remove(aside) }
  }

  /// Deletes what is older than the newest `keep`, as `CheckpointFolder.prune`.
  public func prune(keep: Int) throws(Fault) -> [CheckpointName] {
    try CheckpointFolder.prune(root, keep: keep, id: id, probe: probe)
  }

  /// Gives the folder its name; one of that name goes aside until the tracker is durable.
  private func swap() throws(Fault) -> String? {
    try probe.at(.beforeRename)
    var aside: String?
    if Folder.kind(target, follow: false) != .nothing {
      let path = "\(root)/\(Self.oldPrefix)\(name.folder)_\(id)"
      try Folder.rename(target, to: path)
      aside = path
    }
    do throws(Fault) {
      try probe.at(.betweenRenames)
      try Folder.rename(staging, to: target)
    } catch {
      // The old one is still the one that counts.
      if let aside { try? Folder.rename(aside, to: target) }
      throw error
    }
    try Folder.sync(root)
    try probe.at(.afterRename)
    return aside
  }
}
