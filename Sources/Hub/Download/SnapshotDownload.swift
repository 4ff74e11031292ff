import Foundation
import Support

/// Brings files of a repository into the cache of its hub, in the layout of the hub's own client.
///
/// Processes and ranks take turns by a lock beside the files: the first downloads, the others find
/// them there. A mark in the folder tells that something is missing as long as it is.
struct SnapshotDownload {
  let settings: HubSettings
  let name: RepositoryName
  let revision: String?
  /// Files that are there are compared with what the hub has, not only missing ones fetched.
  let isFresh: Bool
  let log: @Sendable (String) -> Void

  /// The mark of a folder that is being filled.
  static let mark = ".unfinished"

  /// - Parameters:
  ///   - isComplete: whether a folder of the cache has all that is needed; asked when it is this
  ///     process's turn.
  ///   - choose: which files are wanted.
  /// - Returns: the folder of the snapshot.
  /// - Throws: `HUB-101` to `HUB-105`, `FILE-003`, `RUN-104`.
  func run(
    unless isComplete: () -> String?, choose: HubClient.Choice
  ) throws(Fault) -> String {
    let home = home
    try Folder.make(home)
    let lock = try FileLock(
      home + "/.lock", isStopped: settings.isStopped,
      waiting: { log("waiting for another process that downloads the \(name.title)") })
    defer { withExtendedLifetime(lock) {} }
    if let folder = isComplete() { return folder }
    let reader = name.reader(settings)
    let listing = try reader.list(revision: revision)
    let client = HTTPClient(settings: settings, service: name.service)
    let files = try choose(listing.files) { (file) throws(Fault) in
      try client.send(reader.request(file, commit: listing.commit), file.path).body
    }
    let place = Place(home: home, name: name, commit: listing.commit)
    try Folder.make(place.folder)
    let missing = files.filter { !isThere($0, place.folder + "/" + $0.path) }
    try checkRoom(missing, home)
    try AtomicFile.write("", to: place.folder + "/" + Self.mark)
    for (index, file) in missing.enumerated() {
      log(
        "downloading \(name.id) \(file.path) (\(Self.amount(file.size)), "
          + "\(index + 1) of \(missing.count))")
      try fetch(file, listing, reader, place)
    }
    try place.name(revision ?? name.service.mainRevision)
    try Folder.remove(place.folder + "/" + Self.mark)
    return place.folder
  }

  /// Above the files of all revisions, or of the one that a flat layout has.
  private var home: String {
    guard name.service == .modelScope else { return settings.caches.root(name) }
    let folder = settings.caches.places(name, revision: revision)[0]
    return folder
  }

  private func isThere(_ file: RemoteFile, _ path: String) -> Bool {
    guard Folder.fileSize(path) == file.size else { return false }
    // A folder of Hugging Face is of one commit, whose files never change.
    guard isFresh, name.service == .modelScope, let wanted = file.sha256 else { return true }
    return (try? Digest.of(file: path)) == wanted
  }

  private func fetch(
    _ file: RemoteFile, _ listing: RemoteListing, _ reader: any RepositoryReader, _ place: Place
  ) throws(Fault) {
    let content = place.content(file)
    try Folder.make(Folder.parent(content))
    if Folder.fileSize(content) != file.size || !place.hasContents {
      let partial = place.partial(file)
      try Folder.make(Folder.parent(partial))
      try FileDownload(
        client: HTTPClient(settings: settings, service: name.service), file: file,
        request: reader.request(file, commit: listing.commit), partial: partial
      ).run(to: content)
    }
    try place.link(file)
  }

  private func checkRoom(_ files: [RemoteFile], _ folder: String) throws(Fault) {
    let needed = files.reduce(0) { $0.addingReportingOverflow($1.size).partialValue }
    var system = statvfs()
    guard statvfs(folder, &system) == 0 else { return }
    let free = Int(
      clamping: UInt64(system.f_bavail).multipliedReportingOverflow(
        by: UInt64(system.f_frsize)
      ).partialValue)
    guard needed > free else { return }
    throw Fault(
      .cannotWrite, "there is no room for the \(name.title)", at: .file(folder),
      expected: Self.amount(needed), found: Self.amount(free) + " free",
      fix: name.service == .huggingFace
        ? "name another folder with HF_HOME" : "name another folder with MODELSCOPE_CACHE")
  }

  static func amount(_ bytes: Int) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)]
    guard let unit = units.first(where: { Double(bytes) >= $0.1 }) else { return "\(bytes) bytes" }
    return String(format: "%.1f %@", Double(bytes) / unit.1, unit.0)
  }
}

extension SnapshotDownload {
  /// Where the files of one commit go.
  struct Place {
    let home: String
    let name: RepositoryName
    let commit: String

    /// Contents lie under their digests, snapshots are links to them.
    var hasContents: Bool { name.service == .huggingFace }
    var folder: String { hasContents ? "\(home)/snapshots/\(commit)" : home }

    func content(_ file: RemoteFile) -> String {
      hasContents ? "\(home)/blobs/\(file.contentName)" : "\(home)/\(file.path)"
    }

    func partial(_ file: RemoteFile) -> String {
      hasContents
        ? "\(home)/blobs/\(file.contentName).incomplete"
        : "\(home)/.partial/\(file.contentName)"
    }

    /// Gives a content its name in the snapshot.
    func link(_ file: RemoteFile) throws(Fault) {
      guard hasContents else { return }
      let path = "\(folder)/\(file.path)"
      try Folder.make(Folder.parent(path))
      let up = String(repeating: "../", count: file.path.split(separator: "/").count + 1)
      try Folder.remove(path)
      guard symlink("\(up)blobs/\(file.contentName)", path) == 0 else {
        throw Fault(.cannotWrite, "cannot link: \(systemMessage(errno))", at: .file(path))
      }
    }

    /// Notes what a revision means.
    func name(_ revision: String) throws(Fault) {
      guard hasContents else { return try Folder.remove("\(home)/.partial") }
      guard revision != commit else { return }
      let path = "\(home)/refs/\(revision)"
      try Folder.make(Folder.parent(path))
      try AtomicFile.write(commit, to: path)
    }
  }
}
