import Support

/// Where the two hubs' own clients keep what was downloaded.
public struct HubCaches: Sendable, Equatable {
  let huggingFace: String
  /// With the folders `models` and `datasets` of the flat form.
  let modelScope: String
  /// With the folders of the form that has snapshots.
  let modelScopeSnapshots: String

  /// - Parameter environment: of the process; `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`,
  ///   `MODELSCOPE_CACHE`, `XDG_CACHE_HOME` and `HOME` count.
  public init(environment: [String: String]) {
    func folder(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    let cache = folder("XDG_CACHE_HOME") ?? (folder("HOME") ?? "/tmp") + "/.cache"
    huggingFace =
      folder("HF_HUB_CACHE") ?? folder("HUGGINGFACE_HUB_CACHE")
      ?? (folder("HF_HOME") ?? "\(cache)/huggingface") + "/hub"
    modelScope = folder("MODELSCOPE_CACHE") ?? "\(cache)/modelscope/hub"
    modelScopeSnapshots = folder("MODELSCOPE_CACHE") ?? "\(cache)/modelscope"
  }

  /// The folder of a repository of Hugging Face, above its snapshots.
  func root(_ name: RepositoryName) -> String {
    "\(huggingFace)/\(name.kind.plural)--" + name.id.replacing("/", with: "--")
  }

  /// Where a repository may lie, most likely first.
  /// - Parameter revision: nil: the newest that is there.
  /// - Returns: folders of files, also those that do not exist.
  public func places(_ name: RepositoryName, revision: String? = nil) -> [String] {
    guard name.service == .modelScope else {
      return [Self.snapshot(in: root(name), revision: revision ?? "main", exactly: revision != nil)]
    }
    let kind = name.kind.plural
    let wanted = revision ?? name.service.mainRevision
    let snapshot =
      "\(modelScopeSnapshots)/\(kind)/\(name.owner)--\(name.name)/snapshots/\(wanted)"
    guard wanted == name.service.mainRevision else { return [snapshot] }
    // Dots of names are written as three underscores.
    let plain = name.name.replacing(".", with: "___")
    var places = ["\(modelScope)/\(kind)/\(name.owner)/\(plain)"]
    if plain != name.name { places.append("\(modelScope)/\(kind)/\(name.id)") }
    places += [snapshot, "\(modelScope)/\(name.owner)/\(plain)", "\(modelScope)/\(name.id)"]
    return places.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }

  /// The folder of a snapshot; the folder itself where there are none.
  private static func snapshot(in root: String, revision: String, exactly: Bool) -> String {
    let snapshots = root + "/snapshots"
    guard let names = try? Folder.names(snapshots).filter({ !$0.hasPrefix(".") }), !names.isEmpty
    else { return root }
    if let bytes = try? AtomicFile.read(root + "/refs/" + revision, limit: 4096) {
      let commit = String(decoding: bytes, as: UTF8.self).filter { !$0.isWhitespace }
      if names.contains(commit) { return "\(snapshots)/\(commit)" }
    }
    if names.contains(revision) { return "\(snapshots)/\(revision)" }
    if exactly { return "\(snapshots)/\(revision)" }
    return names.max { age($0) < age($1) }.map { "\(snapshots)/\($0)" } ?? root

    func age(_ name: String) -> Int { Folder.changed("\(snapshots)/\(name)") ?? 0 }
  }
}
