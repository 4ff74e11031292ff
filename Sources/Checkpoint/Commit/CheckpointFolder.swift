import Support

/// Cleans a run folder: what crashes left, and checkpoints beyond the wanted number.
public enum CheckpointFolder {
  /// Mends what a crash left: a checkpoint that was set aside and not replaced comes back, hidden
  /// remains are deleted unless the process that writes them lives. Rank 0 calls it at start, before
  /// anything is loaded.
  /// - Returns: one sentence per repair.
  /// - Throws: `FILE-002`, `FILE-003`.
  @discardableResult
  public static func mend(_ root: String, now: Int) throws(Fault) -> [String] {
    guard Folder.kind(root) == .folder else { return [] }
    var notes: [String] = []
    for hidden in try Folder.names(root) {
      let path = root + "/" + hidden
      let isOld = hidden.hasPrefix(CheckpointCommit.oldPrefix)
      let prefixes = [
        CheckpointCommit.oldPrefix, CheckpointCommit.temporaryPrefix, CheckpointCommit.trashPrefix,
      ]
      // A lone file is one of `AtomicFile`, which lives for moments.
      guard let prefix = prefixes.first(where: { hidden.hasPrefix($0) }),
        let mark = hidden.lastIndex(of: "_"), let changed = Folder.changed(path),
        Folder.kind(path, follow: false) == .folder
          ? !SaveID.isInUse(hidden[hidden.index(after: mark)...], age: now - changed)
          : now - changed > SaveID.patience
      else { continue }
      let folder = String(hidden[..<mark].dropFirst(prefix.count))
      if isOld, CheckpointName(folder: folder) != nil,
        Folder.kind(root + "/" + folder) == .nothing
      {
        try Folder.rename(path, to: root + "/" + folder)
        notes.append("restored \(folder), which an interrupted save had set aside")
      } else {
        try Folder.remove(path)
        notes.append("removed \(hidden), left by an interrupted save")
      }
    }
    return notes
  }

  /// Whether a checkpoint was set aside and not replaced: `mend` brings it back.
  public static func hasSetAside(_ root: String) -> Bool {
    ((try? Folder.names(root)) ?? []).contains { $0.hasPrefix(CheckpointCommit.oldPrefix) }
  }

  /// Deletes the oldest checkpoints so that `keep` complete ones stay; never the one the tracker
  /// names, and nothing when the tracker is not readable.
  /// - Returns: the names that were deleted.
  /// - Throws: `CKPT-142`, `FILE-003`.
  @discardableResult
  public static func prune(
    _ root: String, keep: Int, id: String, probe: CommitProbe = .none
  ) throws(Fault) -> [CheckpointName] {
    guard let current = try Tracker.read(root) else { return [] }
    let all = CheckpointLocator.complete(root)
    let surplus = all.dropLast(max(keep, 1)).filter { $0 != current }
    for name in surplus {
      try probe.at(.beforePrune)
      let trash = "\(root)/\(CheckpointCommit.trashPrefix)\(name.folder)_\(id)"
      try Folder.rename(root + "/" + name.folder, to: trash)
      try Folder.sync(root)
      try probe.at(.midPrune)
      try Folder.remove(trash)
    }
    return Array(surplus)
  }
}
