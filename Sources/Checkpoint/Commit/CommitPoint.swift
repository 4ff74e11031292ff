import Support

/// The named moments of a save at which a fault can be injected.
public enum CommitPoint: String, Sendable, CaseIterable {
  case beforeData, midData, afterData, afterDataSync
  case beforeManifest, midManifest, afterManifest
  case beforeRename, betweenRenames, afterRename
  case beforeTracker, afterTracker
  case beforePrune, midPrune
}

/// Called at every `CommitPoint`; a test or `--inject` throws, stops or kills there.
public struct CommitProbe: Sendable {
  public static let none = CommitProbe { (_) throws(Fault) in }
  let action: @Sendable (CommitPoint) throws(Fault) -> Void

  public init(_ action: @escaping @Sendable (CommitPoint) throws(Fault) -> Void) {
    self.action = action
  }

  func at(_ point: CommitPoint) throws(Fault) { try action(point) }
}
