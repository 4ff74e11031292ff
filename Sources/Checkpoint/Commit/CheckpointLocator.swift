import Support

/// A checkpoint found on disk.
public struct CheckpointLocation: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    /// Megatron `torch_dist`: `metadata.json`, `common.pt`, `.metadata`, data.
    case torchDist
    /// `torch.distributed.checkpoint` alone: `.metadata` and data.
    case plainDCP
  }

  /// The folder with the tracker and `args.json`.
  public let root: String
  /// The folder with the data.
  public let folder: String
  /// Nil for a folder that has no iteration in its name.
  public let name: CheckpointName?
  public let kind: Kind

  /// 0 for `release`, as Megatron has it.
  public var iteration: Int {
    if case .iteration(let number)? = name { number } else { 0 }
  }
}

/// Finds the checkpoint that a path means.
public enum CheckpointLocator {
  /// What to do when the tracker does not lead to a complete checkpoint.
  public enum Fallback: Sendable { case stop, newestComplete }

  /// Resolves what a user gives: the top folder (the tracker decides), or an iteration folder.
  /// - Parameters:
  ///   - patience: seconds to wait for a folder that the tracker names, for slow network file
  ///     systems.
  /// - Throws: `CKPT-134`, `CKPT-141` to `CKPT-143`.
  public static func resolve(
    _ path: String, fallback: Fallback = .stop, patience: Double = 5
  ) throws(Fault) -> CheckpointLocation {
    var path = path
    while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
    guard Folder.kind(path) == .folder else {
      throw Fault(
        .notACheckpoint, "there is no such folder", at: .file(path), fix: "check the path")
    }
    if let kind = kind(path) {
      let name = CheckpointName(folder: Folder.name(Folder.resolved(path) ?? path))
      let root = name == nil ? path : Folder.parent(Folder.resolved(path) ?? path)
      return CheckpointLocation(root: root, folder: path, name: name, kind: kind)
    }
    do {
      return try byTracker(path, patience: patience)
    } catch {
      guard let newest = newestComplete(path) else { throw error }
      guard fallback == .newestComplete else {
        var stopped = error
        stopped.fix =
          "the newest complete checkpoint is \(newest): "
          + "write \(newest.trackerText) into \(Tracker.fileName), or allow to fall back to it"
        throw stopped
      }
      return CheckpointLocation(
        root: path, folder: path + "/" + newest.folder, name: newest, kind: .torchDist)
    }
  }

  private static func byTracker(
    _ root: String, patience: Double
  ) throws(Fault) -> CheckpointLocation {
    guard let name = try Tracker.read(root) else {
      throw Fault(
        .notACheckpoint, "the folder is no checkpoint", at: .file(root),
        expected: "\(Tracker.fileName), or an iteration folder with .metadata")
    }
    let folder = root + "/" + name.folder
    var left = patience
    while Folder.kind(folder) == .nothing, left > 0 {
      Pause.seconds(0.25)
      left -= 0.25
    }
    guard Folder.kind(folder) == .folder else {
      throw Fault(
        .badTracker, "the tracker names a checkpoint that is not there",
        at: .file(root + "/" + Tracker.fileName), found: name.folder)
    }
    guard let kind = kind(folder) else {
      if (try? Folder.names(folder))?.contains(where: { $0.hasPrefix("mp_rank_") }) == true {
        throw Fault(
          .unsupportedCheckpoint, "the checkpoint is in the old torch format", at: .file(folder),
          fix: "save it as torch_dist (--ckpt-format torch_dist)")
      }
      throw Fault(
        .incompleteCheckpoint, "the checkpoint has no metadata.json and no .metadata",
        at: .file(folder))
    }
    try Completeness.check(folder)
    return CheckpointLocation(root: root, folder: folder, name: name, kind: kind)
  }

  private static func kind(_ folder: String) -> CheckpointLocation.Kind? {
    if Folder.kind(folder + "/" + FormatRecord.name) == .file { return .torchDist }
    return Folder.kind(folder + "/.metadata") == .file ? .plainDCP : nil
  }

  /// All complete Megatron checkpoints of a run, oldest first.
  public static func complete(_ root: String) -> [CheckpointName] {
    let names = ((try? Folder.names(root)) ?? []).compactMap { CheckpointName(folder: $0) }
    let iterations = names.compactMap { name -> Int? in
      if case .iteration(let number) = name { number } else { nil }
    }
    return iterations.sorted().map { CheckpointName.iteration($0) }.filter { name in
      (try? Completeness.check(root + "/" + name.folder)) != nil
    }
  }

  /// The newest one, older than `limit` if that is an iteration; the rest is not looked at.
  public static func newestComplete(
    _ root: String, below limit: CheckpointName? = nil
  ) -> CheckpointName? {
    let names = ((try? Folder.names(root)) ?? []).compactMap { CheckpointName(folder: $0) }
    let iterations = names.compactMap { name -> Int? in
      if case .iteration(let number) = name { number } else { nil }
    }
    var end = Int.max
    if case .iteration(let number)? = limit { end = number }
    for number in iterations.sorted(by: >) where number < end {
      let name = CheckpointName.iteration(number)
      let folder = root + "/" + name.folder
      if kind(folder) == .torchDist, (try? Completeness.check(folder)) != nil { return name }
    }
    return nil
  }
}
