import Support

/// Publishes a folder: large files first, which nobody sees, then everything in one commit.
public struct FolderPush: Sendable {
  let settings: HubSettings
  let name: RepositoryName
  let isPrivate: Bool
  let message: String
  let log: @Sendable (String) -> Void

  /// - Parameters:
  ///   - id: `owner/name`; the repository is made when it is not there.
  ///   - isPrivate: a repository that is made is private; one that is public is refused.
  /// - Throws: `HUB-106` for an id that cannot be one.
  public init(
    _ settings: HubSettings, id: String, service: HubService, isPrivate: Bool, message: String,
    log: @escaping @Sendable (String) -> Void
  ) throws(Fault) {
    guard let name = RepositoryName(id, .model, in: service) else {
      throw Fault(
        .badPush, "\"\(id)\" is no name in a hub", at: .flag("hub_model_id"),
        expected: "owner/name of letters, digits, dots, dashes and underscores")
    }
    (self.settings, self.name, self.isPrivate) = (settings, name, isPrivate)
    (self.message, self.log) = (message, log)
  }

  /// - Throws: `HUB-101` to `HUB-107`, `FILE-00x`, `RUN-104`.
  public func run(_ folder: String) throws(Fault) {
    let client = HTTPClient(settings: settings, service: name.service)
    guard settings.tokens[name.service] != nil else {
      throw Fault(
        .hubDenied, "nothing can be uploaded to \(name.service.title) without a token",
        at: .flag("hub_token_file"),
        fix: "name a file of mode 0600, or set "
          + (name.service == .huggingFace ? "HF_TOKEN" : "MODELSCOPE_API_TOKEN"))
    }
    guard WebAddress(settings.endpoint(name.service))?.isOpen == false else {
      throw Fault(
        .hubDenied, "the token would travel in the open",
        found: settings.endpoint(name.service), fix: "name the hub with https")
    }
    let writer: any RepositoryWriter =
      name.service == .huggingFace
      ? HuggingFaceWriter(client: client, name: name)
      : ModelScopeWriter(client: client, name: name)
    let content = try PushFolder(folder, extra: writer.extra)
    try writer.prepare(isPrivate: isPrivate)
    let plan = try writer.plan(content.files)
    guard !plan.changed.isEmpty else {
      return log("\(name.id) has these \(content.files.count) files already; nothing is sent")
    }
    log(
      "uploading \(plan.changed.count) files to \(name.id), "
        + "\(plan.large.count) of them large, in one commit")
    try writer.upload(plan.large) { file in
      log("uploading \(file.path) (\(SnapshotDownload.amount(file.size)))")
    }
    let address = try commit(plan, writer)
    log("published as \(address)")
  }

  /// Makes the commit. An answer that is lost leaves open whether it was made: the files of the hub
  /// tell.
  private func commit(_ plan: PushPlan, _ writer: any RepositoryWriter) throws(Fault) -> String {
    let client = HTTPClient(settings: settings, service: name.service)
    let what = "the commit to \(name.id)"
    var wait = 0.5
    for attempt in 1... {
      do throws(CommitFailure) {
        return try writer.commit(plan, message: message)
      } catch {
        guard case .http(let failure) = error else { throw error.fault(client, what) }
        // Somebody's commit, perhaps our own, came before.
        let isOpen = failure.isPassing || [409, 412].contains(failure.code)
        guard isOpen else { throw client.explain(failure, what) }
        if try writer.has(plan.changed) { return writer.address }
        guard failure.isPassing else {
          throw Fault(
            .pushConflict, "\(what): the repository changed during the upload",
            found: failure.words, fix: "start again")
        }
        guard attempt < settings.attempts else { throw client.explain(failure, what) }
        if settings.isStopped() { throw Fault(.stopped, "stopped: \(what)") }
        settings.pause(wait)
        wait = min(2 * wait, 30)
      }
    }
    throw Fault(.internalError, "a commit without end")
  }
}

extension HTTPFailure {
  /// The status of the answer, 0 without one.
  var code: Int {
    if case .status(let code) = cause { return code }
    return 0
  }
}

/// Why a commit was not made.
enum CommitFailure: Error {
  case http(HTTPFailure)
  case other(Fault)

  func fault(_ client: HTTPClient, _ what: String) -> Fault {
    switch self {
    case .http(let failure): return client.explain(failure, what)
    case .other(let fault): return fault
    }
  }
}

/// What an upload does.
struct PushPlan: Sendable {
  /// Files whose content the hub does not have under their path.
  var changed: [PushFolder.File] = []
  /// Those of them that go apart from the commit.
  var large: [PushFolder.File] { changed.filter { largePaths.contains($0.path) } }
  var largePaths: Set<String> = []
  /// The commit that the new one follows.
  var parent: String?
}

/// How a hub takes files.
protocol RepositoryWriter: Sendable {
  /// Files that are made when the folder lacks them.
  var extra: [String: [UInt8]] { get }
  /// The page of the repository.
  var address: String { get }
  /// Makes the repository when it is not there.
  func prepare(isPrivate: Bool) throws(Fault)
  /// Which files change, and which go as large ones.
  func plan(_ files: [PushFolder.File]) throws(Fault) -> PushPlan
  /// Sends contents; nobody sees them before the commit.
  func upload(
    _ files: [PushFolder.File], begin: (PushFolder.File) -> Void
  ) throws(Fault)
  /// - Returns: the page of the commit.
  func commit(_ plan: PushPlan, message: String) throws(CommitFailure) -> String
  /// Whether the hub has all these files with their contents.
  func has(_ files: [PushFolder.File]) throws(Fault) -> Bool
}

extension RepositoryWriter {
  /// Compares with a listing.
  func matches(_ files: [PushFolder.File], _ listing: RemoteListing) -> Bool {
    let there = Dictionary(listing.files.map { ($0.path, $0) }) { first, _ in first }
    return files.allSatisfy { file in
      guard let remote = there[file.path], remote.size == file.size else { return false }
      if let digest = remote.sha256 { return digest == file.sha256 }
      if let digest = remote.gitDigest { return digest == file.gitDigest }
      return false
    }
  }
}
