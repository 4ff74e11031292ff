import Support

/// The file that says which checkpoint counts. Users edit it to go back, so it is read every time.
public enum Tracker {
  public static let fileName = "latest_checkpointed_iteration.txt"

  /// The checkpoint that the tracker of `root` names; nil when there is no tracker.
  /// - Throws: `CKPT-142` when it is empty or names nothing usable.
  public static func read(_ root: String) throws(Fault) -> CheckpointName? {
    let path = root + "/" + fileName
    guard Folder.kind(path) != .nothing else { return nil }
    let text = String(decoding: try AtomicFile.read(path, limit: 1 << 16), as: UTF8.self)
    guard let name = CheckpointName(tracker: text) else {
      throw Fault(
        .badTracker, "the tracker file names no checkpoint", at: .file(path),
        expected: "an iteration above 0, or the word release",
        found: "\"\(text.prefix(60))\"", fix: "write the iteration to load into it")
    }
    return name
  }

  /// Replaces the tracker, durably.
  /// - Throws: `FILE-003`.
  public static func write(_ name: CheckpointName, to root: String) throws(Fault) {
    try AtomicFile.write(name.trackerText, to: root + "/" + fileName)
  }
}
