import Checkpoint
import Foundation
import Model
import Support
import Tensor

/// `--inspect`: what a checkpoint, a folder or a file holds, as lines of text.
struct Inspection {
  let path: String

  /// - Throws: what reading the headers and the index throws; no tensor is read.
  func lines() throws(Fault) -> [String] {
    if Folder.kind(path) == .file, !path.hasSuffix(".safetensors") { return try ofFile() }
    let store = try TensorStore(path)
    switch store {
    case .megatron(let location, let reader): return try of(location, reader)
    case .published(let folder):
      return try of(folder) + folder.tensors.map { Self.line($0, "") }
    case .adapter(let folder, let file):
      return of(folder) + file.tensors.map { Self.line($0, "") }
    case .file(let file):
      let metadata = file.metadata.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
      return ["format     safetensors file", "metadata   " + metadata.joined(separator: ", ")]
        + Self.totals(file.tensors, objects: 0) + file.tensors.map { Self.line($0, "") }
    }
  }

  /// A pickle, bare or in an archive; an index is shown by its keys.
  private func ofFile() throws(Fault) -> [String] {
    if Folder.name(path) == ".metadata" {
      let index = try DistIndex(path: path)
      return ["format     index of a distributed checkpoint"] + Self.keys(index)
    }
    return ["format     pickle", "value      " + (try TorchFile.value(path)).text()]
  }

  // MARK: Megatron

  private func of(
    _ location: CheckpointLocation, _ reader: TorchDistReader
  ) throws(Fault) -> [String] {
    var lines = [
      "format     \(location.kind == .torchDist ? "Megatron torch_dist" : "torch.distributed.checkpoint")",
      "folder     \(location.folder)",
    ]
    if location.kind == .torchDist {
      let common = try CommonState(folder: location.folder)
      lines.append("iteration  \(common.iteration)")
      lines.append("layout     " + Self.layout(common))
      let content = common.contentMetadata.map { "\($0.0)=\($0.1.text())" }
      if !content.isEmpty { lines.append("content    " + content.joined(separator: ", ")) }
      lines.append("optimizer  " + (common.optimizer == nil ? "not saved" : "saved"))
      let sizes = Self.sizes.compactMap { name in common[arg: name].map { "\(name)=\($0.text())" } }
      if !sizes.isEmpty { lines.append("model      " + sizes.joined(separator: ", ")) }
    }
    lines += try files(location.folder)
    return lines + Self.keys(reader.index)
  }

  private static let sizes = [
    "num_layers", "hidden_size", "num_attention_heads", "num_query_groups", "ffn_hidden_size",
    "num_experts", "moe_ffn_hidden_size", "padded_vocab_size",
  ]

  /// The parallel sizes of the run that wrote it.
  private static func layout(_ common: CommonState) -> String {
    let names = [
      ("tp", "tensor_model_parallel_size"), ("pp", "pipeline_model_parallel_size"),
      ("cp", "context_parallel_size"), ("ep", "expert_model_parallel_size"),
      ("etp", "expert_tensor_parallel_size"), ("world", "world_size"),
    ]
    let known = names.compactMap { short, name in
      common[arg: name]?.int.map { "\(short) \($0)" }
    }
    return known.isEmpty ? "not recorded" : known.joined(separator: ", ")
  }

  private static func keys(_ index: DistIndex) -> [String] {
    let specs = index.keys.compactMap { index.tensors[$0] }
    var lines = totals(specs.map(\.spec), objects: index.objects.count)
    for key in index.keys {
      if let tensor = index.tensors[key] {
        let files = Set(tensor.chunks.map(\.location.file)).sorted().joined(separator: " ")
        lines.append(line(tensor.spec, "\(tensor.chunks.count) pieces in \(files)"))
      } else if let place = index.objects[key] {
        lines.append("object     \(key)  \(place.length) bytes in \(place.file)")
      }
    }
    return lines
  }

  // MARK: Published folders and adapters

  private func of(_ folder: SafetensorsFolder) throws(Fault) -> [String] {
    var lines = ["format     published folder (safetensors)", "folder     \(folder.path)"]
    if let config = try? QwenConfig(folder: folder.path) {
      lines.append(
        "model      \(config.family.rawValue), \(config.layerCount) layers, hidden \(config.hiddenSize)"
          + (config.experts.map { ", \($0.count) experts" } ?? "")
          + (config.tiesEmbeddings ? ", tied embeddings" : ""))
    }
    lines += try files(folder.path) + folder.notes.map { "note       " + $0 }
    return lines + Self.totals(folder.tensors, objects: 0)
  }

  private func of(_ folder: AdapterFolder) -> [String] {
    let config = folder.config
    return [
      "format     PEFT adapter", "folder     \(folder.path)",
      "adapter    rank \(config.rank), alpha \(config.alpha), dropout \(config.dropout)"
        + (config.stabilized ? ", rslora" : ""),
      "base       \(config.baseModel ?? "not recorded")",
      "modules    \(folder.modules.count) adapted, \(folder.saved.count) tensors saved whole",
    ]
      + Self.totals(
        folder.modules.flatMap { [$0.a, $0.b] } + folder.saved.map(\.tensor), objects: 0)
  }

  // MARK: Lines

  private func files(_ folder: String) throws(Fault) -> [String] {
    let manifest = try Manifest.read(folder)
    var sums: [String: UInt32] = [:]
    for file in manifest?.files ?? [] { sums[file.name] = file.crc32c }
    return try Folder.names(folder).compactMap { name in
      guard let size = Folder.fileSize(folder + "/" + name) else { return nil }
      let sum = sums[name].map { "CRC-32C " + String(format: "%08x", $0) } ?? "no checksum recorded"
      return "file       \(name)  \(size) bytes  \(sum)"
    }
  }

  private static func totals(_ tensors: [TensorSpec], objects: Int) -> [String] {
    let bytes = tensors.reduce(0) { $0 + $1.byteCount }
    let elements = tensors.reduce(0) { $0 + $1.count }
    return [
      "total      \(tensors.count) tensors, \(elements) elements, \(bytes) bytes"
        + (objects > 0 ? ", \(objects) objects" : "")
    ]
  }

  private static func line(_ spec: TensorSpec, _ place: String) -> String {
    "tensor     \(spec.name)  \(spec.dtype.rawValue)  \(spec.shape)  \(spec.byteCount) bytes"
      + (place.isEmpty ? "" : "  " + place)
  }
}
