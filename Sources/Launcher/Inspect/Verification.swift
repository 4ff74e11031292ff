import Checkpoint
import Foundation
import Model
import Support
import Tensor

/// `--verify`: reads everything that a checkpoint, a folder or a file holds and compares it with all
/// that is known of it: checksums, index, shapes, names.
struct Verification {
  let path: String
  /// Which part of the work is done here, of how many.
  var part = 0
  var parts = 1

  /// What was found; faults are all that were met, not only the first.
  struct Result {
    var faults: [Fault] = []
    var tensors = 0
    var bytes = 0
    var checks: [String] = []
  }

  func run() throws(Fault) -> Result {
    var result = Result()
    let store = try TensorStore(path)
    switch store {
    case .megatron(let location, let reader): verify(location, reader, &result)
    case .published(let folder): verify(folder, &result)
    case .adapter(let folder, let file):
      result.checks.append("adapter_config.json, pairs of halves")
      take(folder.modules.count * 2 + folder.saved.count, file.tensors, &result)
      readAll(store, &result)
    case .file(let file):
      result.checks.append("header")
      take(file.tensors.count, file.tensors, &result)
      readAll(store, &result)
    }
    return result
  }

  private func take(_ count: Int, _ tensors: [TensorSpec], _ result: inout Result) {
    result.tensors += count
    result.bytes += tensors.reduce(0) { $0 + $1.byteCount }
  }

  private func attempt(_ body: () throws(Fault) -> Void) -> [Fault] {
    do throws(Fault) {
      try body()
      return []
    } catch {
      return [error]
    }
  }

  // MARK: Megatron

  private func verify(
    _ location: CheckpointLocation, _ reader: TorchDistReader, _ result: inout Result
  ) {
    let folder = location.folder
    result.faults += attempt { () throws(Fault) in
      guard let manifest = try Manifest.read(folder) else { return }
      result.checks.append("manifest")
      try manifest.verify(folder, part: part, of: parts)
    }
    if location.kind == .torchDist, part == 0 {
      result.faults += attempt { () throws(Fault) in
        _ = try CommonState(folder: folder)
        result.checks.append("common.pt")
      }
    }
    result.checks.append("index, archives, checksums of all items")
    for (i, key) in reader.index.keys.enumerated() where i % parts == part {
      if let tensor = reader[key] {
        result.faults += attempt { () throws(Fault) in try reader.verify(tensor) }
        take(1, [tensor.spec], &result)
      } else if let place = reader.index.objects[key] {
        result.faults += attempt { () throws(Fault) in try reader.verifyItem(place) }
      }
    }
  }

  // MARK: Published folders

  private func verify(_ folder: SafetensorsFolder, _ result: inout Result) {
    result.checks.append("headers, index")
    result.faults += attempt { () throws(Fault) in
      guard let manifest = try Manifest.read(folder.path) else {
        return readAll(.published(folder), &result)
      }
      result.checks.append("manifest")
      try manifest.verify(folder.path, part: part, of: parts)
    }
    guard part == 0 else { return }
    take(folder.tensors.count, folder.tensors, &result)
    guard Folder.kind(folder.path + "/config.json") == .file else { return }
    result.faults += attempt { () throws(Fault) in
      let config = try QwenConfig(folder: folder.path)
      let published = PublishedFolder(folder)
      try PublishedNames(
        NameMap(config, experts: ExpertLayout.of(published, config).layout), published
      ).check(at: folder.path)
      result.checks.append("names and shapes by config.json")
    }
  }

  /// Without checksums all that can be known is that every byte can be read.
  private func readAll(_ store: TensorStore, _ result: inout Result) {
    let memory = AlignedBlock(4 << 20)
    for (i, spec) in store.tensors.enumerated() where i % parts == part {
      result.faults += attempt { () throws(Fault) in
        try RowParts.forEach(0..<spec.count, rowBytes: spec.dtype.size, through: memory.bytes) {
          (elements, bytes) throws(Fault) in
          try store.read(
            spec.name, leading: [], elements: elements, shape: spec.shape, into: bytes)
        }
      }
    }
  }
}
