import DataPipeline
import Hub
import Support

/// What the options and the environment of a program say about the hubs.
struct HubAccess {
  let launch: LaunchEnvironment
  let flags: ModelFlags
  /// Which files a model needs: its weights may come from elsewhere.
  var files = ModelFiles.model
  var level = LogLevel.info

  init(_ launch: LaunchEnvironment, _ flags: ModelFlags, files: ModelFiles = .model) {
    (self.launch, self.flags, self.files) = (launch, flags, files)
  }

  /// The hub that an id without a prefix belongs to.
  var service: HubService { flags.useHF ? .huggingFace : .modelScope }

  /// How the hubs are reached.
  /// - Throws: `FILE-005` for a file of a token that others may read.
  func settings() throws(Fault) -> HubSettings {
    var settings = HubSettings(environment: launch.variables)
    if let token = try flags.token() { settings.use(token, for: service) }
    return settings
  }

  /// A client whose lines go to the log of the rank that downloads.
  /// - Throws: `FILE-005`.
  func client() throws(Fault) -> HubClient {
    let world = launch.world
    let logger = Logger(level: level, rank: world.rank, speaker: world.size > 1 ? nil : 0)
    return HubClient(try settings()) { logger.info($0) }
  }

  /// The folder of a model that was downloaded before.
  func localModel(_ id: String) -> String? {
    let client = HubClient(HubSettings(environment: launch.variables))
    return client.places(id, revision: flags.modelRevision, in: service).first {
      !HubClient.isUnfinished($0) && files.areIn($0)
    }
  }

  /// The folder of a model, downloaded if need be.
  /// - Returns: nil for what cannot be an id, or where nothing may be downloaded.
  /// - Throws: `HUB-10x`, `FILE-00x`.
  func model(_ id: String) throws(Fault) -> String? {
    guard launch.mayDownload else { return nil }
    return try client().model(id, revision: flags.modelRevision, in: service, files)
  }

  /// The folder of an adapter: as written, or downloaded where it is an id.
  /// - Throws: `HUB-10x`, `FILE-00x`.
  func adapter(_ name: String) throws(Fault) -> String {
    let path = PathText.absolute(name)
    var own = self
    own.files = .adapter
    guard !PathText.exists(path) else { return path }
    if let folder = own.localModel(name) { return folder }
    return try own.model(name) ?? path
  }

  func places(_ id: String) -> [String] {
    HubClient(HubSettings(environment: launch.variables)).places(
      id, revision: flags.modelRevision, in: service)
  }
}

extension SourceOptions {
  /// Where data sets are looked for, as the options of a program say.
  /// - Throws: `FILE-005`.
  mutating func use(_ access: HubAccess, _ data: DataFlags) throws(Fault) {
    useHuggingFace = access.flags.useHF
    isFresh = data.downloadMode == .force
    use(try access.client(), environment: access.launch.variables)
    if !access.launch.mayDownload { hub = nil }
  }
}
