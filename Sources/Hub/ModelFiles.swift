import Support

/// Which files of a repository make up a model or an adapter.
public enum ModelFiles: Sendable {
  /// Configuration, tokenizer, templates and what a run noted of itself.
  case description
  /// The same with the weights.
  case model
  /// A PEFT adapter.
  case adapter

  private static let endings = [".json", ".txt", ".jinja", ".model", ".md"]
  private static let index = "model.safetensors.index.json"

  /// Whether a folder of this machine has all of them.
  public func areIn(_ folder: String) -> Bool {
    func has(_ name: String) -> Bool { Folder.kind(folder + "/" + name) == .file }
    switch self {
    case .adapter: return has("adapter_config.json") && has("adapter_model.safetensors")
    case .description: return has("config.json") || has("adapter_config.json")
    case .model:
      guard has("config.json") else { return false }
      guard let bytes = try? AtomicFile.read(folder + "/" + Self.index, limit: 1 << 28) else {
        return has("model.safetensors")
      }
      let map = bytes.withUnsafeBytes { try? JSONValue.parse($0) }?["weight_map"]?.object
      let names = Set((map?.members ?? []).compactMap(\.value.string))
      return !names.isEmpty && names.allSatisfy(has)
    }
  }

  /// The files among those of a hub.
  /// - Throws: `HUB-103` when the repository holds no such thing.
  func choose(_ files: [RemoteFile], _ name: RepositoryName) throws(Fault) -> [RemoteFile] {
    let top = files.filter { !$0.path.contains("/") && !$0.path.hasPrefix(".") }
    let texts = top.filter { file in
      Self.endings.contains { file.path.hasSuffix($0) } && file.size <= 256 << 20
    }
    let config = self == .adapter ? "adapter_config.json" : "config.json"
    let isThere = texts.contains {
      $0.path == config || (self == .description && $0.path == "adapter_config.json")
    }
    guard isThere else {
      throw Fault(
        .notInHub, "\(name.id) holds no \(config)", at: .flag("model"),
        found: files.prefix(10).map(\.path).joined(separator: ", "),
        fix: self == .model ? "name the repository of a published model" : nil)
    }
    guard self != .description else { return texts }
    let weights = top.filter { file in
      file.path.hasSuffix(".safetensors")
        && (self == .adapter) == file.path.hasPrefix("adapter_model")
    }
    guard !weights.isEmpty else {
      throw Fault(
        .notInHub, "\(name.id) holds no safetensors", at: .flag("model"),
        found: files.prefix(10).map(\.path).joined(separator: ", "),
        fix: "weights in other forms are not read: take a revision that has safetensors")
    }
    return texts + weights
  }
}

extension HubClient {
  /// The folder of a model or adapter that is named by an id.
  /// - Returns: nil for a text that cannot be an id.
  /// - Throws: as `folder(of:)`.
  public func model(
    _ id: String, revision: String?, in service: HubService, _ files: ModelFiles
  ) throws(Fault) -> String? {
    guard let name = RepositoryName(id, .model, in: service) else { return nil }
    if let other = HubService.allCases.first(where: { $0 != service }),
      localFolder(of: name, revision: revision, isComplete: files.areIn) == nil,
      let second = RepositoryName(id, .model, in: other),
      let folder = localFolder(of: second, revision: revision, isComplete: files.areIn)
    {
      return folder
    }
    return try folder(
      of: name, revision: revision, isComplete: files.areIn,
      choose: { (list, _) throws(Fault) in try files.choose(list, name) })
  }

  /// Every place of this machine where a model is looked for.
  public func places(_ id: String, revision: String?, in service: HubService) -> [String] {
    let order = [service] + HubService.allCases.filter { $0 != service }
    return order.compactMap { RepositoryName(id, .model, in: $0) }.flatMap {
      settings.caches.places($0, revision: revision)
    }
  }
}
