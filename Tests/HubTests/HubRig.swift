import Foundation
import LocalHub
import Support

@testable import Hub

/// A hub of this machine, and a machine with an empty cache.
final class HubRig {
  let hub: LocalHub
  let folder: String
  let lines = Lines()

  /// Takes lines of a log.
  final class Lines: @unchecked Sendable {
    private let lock = NSLock()
    private var all: [String] = []
    func add(_ line: String) { lock.withLock { all.append(line) } }
    var text: String { lock.withLock { all.joined(separator: "\n") } }
  }

  init(dropsEvery: Int = 0, token: String? = nil) throws {
    var behaviour = LocalHub.Behaviour()
    behaviour.dropsEvery = dropsEvery
    behaviour.token = token
    hub = try LocalHub(behaviour)
    folder = NSTemporaryDirectory() + "/hub-tests-" + AtomicFile.uniqueName()
    try Folder.make(folder)
  }

  deinit { try? Folder.remove(folder) }

  func settings(_ more: [String: String] = [:]) -> HubSettings {
    var settings = HubSettings(
      environment: [
        "HOME": folder, "HF_ENDPOINT": hub.address, "MODELSCOPE_DOMAIN": hub.address,
      ].merging(more) { $1 })
    settings.pause = { _ in }
    settings.isStopped = { false }
    return settings
  }

  func client(_ more: [String: String] = [:]) -> HubClient {
    let lines = lines
    return HubClient(settings(more)) { lines.add($0) }
  }

  /// Bytes that no compression and no resumption at a wrong place leaves alike.
  static func noise(_ count: Int, seed: UInt64) -> [UInt8] {
    var state = seed
    return (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: state >> 33)
    }
  }

  /// The files of a small model.
  static let model: [String: [UInt8]] = [
    "config.json": Array(#"{"model_type": "qwen3"}"#.utf8),
    "tokenizer.json": noise(3000, seed: 1),
    "model-00001-of-00002.safetensors": noise(9500, seed: 2),
    "model-00002-of-00002.safetensors": noise(2500, seed: 3),
    "model.safetensors.index.json": Array(
      (#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "#
        + #""b": "model-00002-of-00002.safetensors"}}"#).utf8),
    "empty.txt": [],
  ]

  /// Puts the model into the hub, with files that nobody needs.
  func fill(_ id: String) {
    for (path, bytes) in Self.model { hub.add(path, bytes, to: id) }
    hub.add("pytorch_model.bin", Self.noise(5000, seed: 4), to: id)
    hub.add("original/weights.pth", Self.noise(50, seed: 5), to: id)
  }

  /// A folder of this machine with files.
  func write(_ name: String, _ files: [String: [UInt8]]) throws -> String {
    for (path, bytes) in files {
      try Folder.make(Folder.parent("\(folder)/\(name)/\(path)"))
      try AtomicFile.write(bytes, to: "\(folder)/\(name)/\(path)")
    }
    return "\(folder)/\(name)"
  }

  func fault(_ body: () throws -> Void) -> Fault? {
    do {
      try body()
      return nil
    } catch { return error as? Fault }
  }
}
