import Support

/// Cleans a run folder: what crashes left, and checkpoints beyond the wanted number.
public enum CheckpointFolder {
  /// Mends what a crash left: a checkpoint that was set aside and not replaced comes back, hidden
  /// remains are deleted. Rank 0 calls it at start, before anything is loaded.
  /// - Parameter olderThan: seconds since the last change; a younger folder may be the work of
  ///   another job that still runs.
  /// - Returns: one sentence per repair.
  /// - Throws: `FILE-002`, `FILE-003`.
  @discardableResult
  public static func mend(
    _ root: String, now: Int, olderThan: Int = 0
  ) throws(Fault) -> [String] {
    guard Folder.kind(root) == .folder else { return [] }
    var notes: [String] = []
    for hidden in try Folder.names(root) {
      let path = root + "/" + hidden
      if hidden.hasPrefix(CheckpointCommit.oldPrefix) {
        let rest = hidden.dropFirst(CheckpointCommit.oldPrefix.count)
        let parts = rest.split(separator: "_", maxSplits: 2).map(String.init)
        let folder = parts.first == "iter" ? parts.prefix(2).joined(separator: "_") : "release"
        if Folder.kind(root + "/" + folder) == .nothing {
          try Folder.rename(path, to: root + "/" + folder)
          notes.append("restored \(folder), which an interrupted save had set aside")
        } else {
          try Folder.remove(path)
          notes.append("removed \(hidden), left by an interrupted save")
        }
      } else if hidden.hasPrefix(CheckpointCommit.temporaryPrefix)
        || hidden.hasPrefix(CheckpointCommit.trashPrefix)
      {
        guard let changed = Folder.changed(path), now - changed >= olderThan else { continue }
        try Folder.remove(path)
        notes.append("removed \(hidden), left by an interrupted save")
      }
    }
    return notes
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
