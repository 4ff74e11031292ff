import DataPipeline
import Foundation
import Hub
import Model
import Support

/// The folder that tells what a model is: configuration and tokenizer.
struct ModelFolder {
  let path: String
  let config: QwenConfig
  /// `config.json` with the values of the flags.
  let configuration: JSONObject
  /// Whether `configuration` differs from the file.
  let isChanged: Bool

  /// - Parameters:
  ///   - model: `--model`: a folder in published layout, or the id of one in a hub.
  ///   - checkpoint: `--load`: used when it carries a config.json of its own.
  ///   - weightsAreGiven: weights come from files, so that `overrides` may not change their shapes.
  /// - Throws: `FILE-001` when neither is a model's folder, `HUB-10x` when it cannot be downloaded; `OPT-103` for flags that contradict the
  ///   weights; `FILE-004`, `MODEL-10x` for a bad config.json.
  init(
    model: String?, checkpoint: String?, hub: HubAccess? = nil,
    overrides: ArchitectureOverrides = ArchitectureOverrides(), weightsAreGiven: Bool = true
  ) throws(Fault) {
    path = try ModelFolder.find(model, checkpoint, hub)
    let file = path + "/config.json"
    let text = String(decoding: try AtomicFile.read(file), as: UTF8.self)
    let value: JSONValue
    do throws(JSONSyntaxError) {
      value = try JSONValue.parse(text)
    } catch {
      throw Fault(.badJSON, error.reason, at: .file(file, line: error.line, column: error.column))
    }
    guard let root = value.object else {
      throw Fault(.badJSON, "the file must hold an object, not \(value.kind)", at: .file(file))
    }
    configuration = try overrides.apply(to: root, path: file, weightsAreGiven: weightsAreGiven)
    isChanged = configuration != root
    config = try QwenConfig(json: .object(configuration), path: file)
  }

  private static func find(
    _ model: String?, _ checkpoint: String?, _ hub: HubAccess?
  ) throws(Fault) -> String {
    let isHere = model.map { PathText.exists(PathText.expanded($0)) } ?? true
    var candidates = [model.map(PathText.expanded), checkpoint].compactMap { $0 }
    if let model, let hub, !isHere, let folder = hub.localModel(model) {
      candidates.insert(folder, at: 0)
    }
    if let folder = candidates.first(where: { PathText.exists($0 + "/config.json") }) {
      return folder
    }
    var tried: [String] = []
    if let model, let hub, !isHere {
      if let folder = try hub.model(model) { return folder }
      tried = hub.places(model)
    }
    throw Fault(
      .missingFile, model.map { "\($0) is no folder with a config.json" } ?? "no model is named",
      at: .flag("model"), expected: "a folder in HuggingFace layout, or the id of a downloaded one",
      found: tried.isEmpty ? nil : "nothing at " + tried.joined(separator: ", "),
      fix: "download the model first and name its folder with --model")
  }

  /// Files that go along with the weights into every folder this program makes.
  static let companions = [
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json", "preprocessor_config.json",
    "video_preprocessor_config.json", "processor_config.json",
  ]

  /// Copies what is there and not yet in `target`; a `config.json` that flags changed is written.
  /// - Throws: `FILE-002`, `FILE-003`.
  func copyCompanions(to target: String, replacing: Bool = false) throws(Fault) {
    if isChanged, target != path {
      try AtomicFile.write(
        JSONValue.object(configuration).write(.indented) + "\n", to: target + "/config.json")
    }
    for name in ModelFolder.companions where !(isChanged && name == "config.json") {
      let (from, to) = (path + "/" + name, target + "/" + name)
      guard FileManager.default.fileExists(atPath: from), from != to else { continue }
      if FileManager.default.fileExists(atPath: to), !replacing { continue }
      guard let data = FileManager.default.contents(atPath: from) else {
        throw Fault(.unreadableFile, "cannot be read", at: .file(from))
      }
      try AtomicFile.write([UInt8](data), to: to)
    }
  }
}
