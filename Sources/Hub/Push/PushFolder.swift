import Support

/// The files of a folder that are published, with their digests.
struct PushFolder: Sendable {
  /// A file as it goes into a repository.
  struct File: Sendable {
    /// Below the repository.
    let path: String
    /// On this machine; nil for a file that is made for the upload.
    let place: String?
    let made: [UInt8]
    let size: Int
    let sha256: String
    /// The name of its blob in git.
    let gitDigest: String
  }

  let files: [File]

  /// Training state, which no reader of a model needs.
  private static let stateFiles: Set<String> = [
    "trainer_state.json", "optimizer.pt", "scheduler.pt", "training_args.bin",
    "latest_checkpointed_iteration.txt", "logging.jsonl", "latest",
  ]
  private static let stateFolders = ["iter_", "checkpoint-", "global_step", "runs", "images"]
  private static let most = 10_000

  /// - Parameter extra: files that are made when the folder lacks them.
  /// - Throws: `HUB-106` for a folder that holds no model or adapter, or not all of one; `FILE-00x`.
  init(_ folder: String, extra: [String: [UInt8]] = [:]) throws(Fault) {
    var paths: [String] = []
    try Self.collect(folder, "", &paths)
    try Self.check(folder, Set(paths))
    var files: [File] = []
    for path in paths {
      let place = folder + "/" + path
      let opened = try PosixFile(reading: place)
      let size = try opened.size()
      let (large, git) = (Digest(.sha256), Digest(.sha1))
      git.update(Array("blob \(size)\0".utf8))
      try large.update(file: opened, count: size)
      // Large files are known by the other digest.
      if size <= 64 << 20 { try git.update(file: opened, count: size) }
      files.append(
        File(
          path: path, place: place, made: [], size: size, sha256: large.hexadecimal(),
          gitDigest: git.hexadecimal()))
    }
    for (path, bytes) in extra.sorted(by: { $0.key < $1.key }) where !paths.contains(path) {
      let (large, git) = (Digest(.sha256), Digest(.sha1))
      large.update(bytes)
      git.update(Array("blob \(bytes.count)\0".utf8) + bytes)
      files.append(
        File(
          path: path, place: nil, made: bytes, size: bytes.count, sha256: large.hexadecimal(),
          gitDigest: git.hexadecimal()))
    }
    self.files = files
  }

  /// Plain files of the folder; hidden ones, linked folders and training state are left out.
  private static func collect(
    _ folder: String, _ below: String, _ paths: inout [String]
  ) throws(Fault) {
    for name in try Folder.names(below.isEmpty ? folder : folder + "/" + below) {
      let path = below.isEmpty ? name : below + "/" + name
      if name.hasPrefix(".") || name.hasPrefix("rng_state") || stateFiles.contains(name) {
        continue
      }
      switch Folder.kind(folder + "/" + path) {
      case .file: paths.append(path)
      case .folder where Folder.kind(folder + "/" + path, follow: false) == .folder:
        if stateFolders.contains(where: name.hasPrefix) { continue }
        try collect(folder, path, &paths)
      default: continue
      }
      guard paths.count <= most else {
        throw Fault(
          .badPush, "the folder has more than \(most) files", at: .file(folder),
          fix: "name the folder of one model")
      }
    }
  }

  private static func check(_ folder: String, _ paths: Set<String>) throws(Fault) {
    func fault(_ what: String, _ fix: String) -> Fault {
      Fault(
        .badPush, what, at: .file(folder),
        expected: "a published model (config.json and safetensors) or an adapter "
          + "(adapter_config.json and adapter_model.safetensors)", fix: fix)
    }
    if paths.contains("adapter_config.json") {
      guard paths.contains("adapter_model.safetensors") else {
        throw fault("the adapter has no weights", "write it again with --to_peft_format true")
      }
      return
    }
    guard paths.contains("config.json") else {
      throw fault(
        "the folder holds no published model", "convert a checkpoint first: --to_hf true")
    }
    let index = "model.safetensors.index.json"
    guard paths.contains(index) else {
      guard paths.contains("model.safetensors") else {
        throw fault("the model has no weights", "name the folder that has them")
      }
      return
    }
    let bytes = try AtomicFile.read(folder + "/" + index, limit: 1 << 28)
    let map = bytes.withUnsafeBytes { try? JSONValue.parse($0) }?["weight_map"]?.object
    let named = Set((map?.members ?? []).compactMap(\.value.string))
    guard !named.isEmpty, let missing = named.subtracting(paths).sorted().first else {
      if named.isEmpty { throw fault("\(index) names no weights", "copy the model again") }
      return
    }
    throw fault("the weights \(missing) are missing", "copy the model again")
  }
}

extension PushFolder.File {
  /// All bytes of a file that is small.
  /// - Throws: `FILE-00x`; `HUB-106` when it changed since its digest was taken.
  func content() throws(Fault) -> [UInt8] {
    guard let place else { return made }
    let bytes = try AtomicFile.read(place, limit: max(size, 1))
    guard bytes.count == size else { throw changed }
    return bytes
  }

  func body(from start: Int = 0, count: Int? = nil) throws(Fault) -> HTTPRequest.Body {
    guard let place else { return .bytes(made) }
    let file = try PosixFile(reading: place)
    guard try file.size() == size else { throw changed }
    return .file(file, from: start, count: count ?? size)
  }

  private var changed: Fault {
    Fault(
      .badPush, "the file changed while it was sent", at: .file(place ?? path),
      fix: "start again when nobody writes into the folder")
  }
}
