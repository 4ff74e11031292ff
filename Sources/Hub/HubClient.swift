import Support

/// Finds repositories on this machine and downloads what is missing.
public final class HubClient: Sendable, Equatable {
  public let settings: HubSettings
  /// Takes lines about what is under way.
  private let log: @Sendable (String) -> Void

  public init(_ settings: HubSettings, log: @escaping @Sendable (String) -> Void = { _ in }) {
    self.settings = settings
    self.log = log
  }

  public static func == (a: HubClient, b: HubClient) -> Bool { a === b }

  /// Picks the files that are wanted; the second argument fetches a small file to look into.
  public typealias Choice = (
    [RemoteFile], (RemoteFile) throws(Fault) -> [UInt8]
  ) throws(Fault) -> [RemoteFile]

  /// Whether a download into the folder was begun and has not ended.
  public static func isUnfinished(_ folder: String) -> Bool {
    Folder.kind(folder + "/" + SnapshotDownload.mark) != .nothing
  }

  /// A folder of this machine that has what is needed; nothing is downloaded.
  public func localFolder(
    of name: RepositoryName, revision: String? = nil, isComplete: (String) -> Bool
  ) -> String? {
    settings.caches.places(name, revision: revision).first { folder in
      Folder.kind(folder) == .folder && !Self.isUnfinished(folder) && isComplete(folder)
    }
  }

  /// The folder with the files that are wanted.
  /// - Parameters:
  ///   - revision: a branch, tag or commit; nil: the main branch.
  ///   - isFresh: fetch anew what the cache has.
  ///   - isComplete: whether a folder of this machine has all that is needed.
  ///   - choose: which of the files in the hub are wanted.
  /// - Throws: `HUB-101` to `HUB-105` when it is neither here nor can be downloaded, `FILE-003`,
  ///   `RUN-104`.
  public func folder(
    of name: RepositoryName, revision: String? = nil, isFresh: Bool = false,
    isComplete: (String) -> Bool, choose: Choice
  ) throws(Fault) -> String {
    func local() -> String? { localFolder(of: name, revision: revision, isComplete: isComplete) }
    if !isFresh || settings.isOffline, let folder = local() { return folder }
    guard !settings.isOffline else {
      throw Fault(
        .hubUnreachable,
        "the \(name.title) is not on this machine, and HF_HUB_OFFLINE forbids to ask",
        found: "nothing at "
          + settings.caches.places(name, revision: revision).joined(separator: ", "),
        fix: "download it where there is a network, or unset HF_HUB_OFFLINE")
    }
    do throws(Fault) {
      return try SnapshotDownload(
        settings: settings, name: name, revision: revision, isFresh: isFresh, log: log
      ).run(unless: { isFresh ? nil : local() }, choose: choose)
    } catch {
      guard error.code == .hubUnreachable || error.code == .notInHub else { throw error }
      var fault = error
      fault.expected =
        "a folder, a copy at "
        + settings.caches.places(name, revision: revision).joined(separator: ", ")
        + ", or the hub"
      throw fault
    }
  }
}
