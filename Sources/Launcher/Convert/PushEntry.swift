import Hub
import Parallel
import Support

/// `megatron-export --push_to_hub`.
struct PushEntry {
  let options: ExportOptions
  let world: any Communicator
  let logger: Logger

  /// Publishes the adapter or the model that the options name.
  /// - Throws: `FILE-001` when there is no such folder; as `run(_:)`.
  func run() throws(Fault) {
    guard let name = options.export.adapters.first ?? options.model.model else {
      throw Fault(.wrongOptions, "no folder to publish", at: .flag("model"))
    }
    let path = PathText.absolute(name)
    guard Folder.kind(path) == .folder else {
      throw Fault(.missingFile, "there is no such folder", at: .file(path))
    }
    try run(path)
  }

  /// Publishes a folder: rank 0 uploads, the others wait.
  /// - Throws: `HUB-10x`, `FILE-00x`, on all ranks.
  func run(_ folder: String) throws(Fault) {
    try world.agreeing { () throws(Fault) in
      guard world.rank == 0, let id = options.export.hubModelID else { return }
      let access = HubAccess(options.report.launch, options.model)
      try FolderPush(
        try access.settings(), id: id, service: access.service,
        isPrivate: options.export.hubPrivateRepo, message: options.export.commitMessage,
        log: { logger.info($0) }
      ).run(folder)
    }
  }
}
