import Support
import Tensor

/// Writes a folder of safetensors, shard after shard, as one stream of tensors.
public final class SafetensorsFolderWriter {
  public let folder: String
  public let shards: SafetensorsShards
  private var writer: SafetensorsWriter?
  private var next = 0
  private var ends: [Int: String] = [:]
  private var left = 0

  /// - Parameter tensors: in the order in which their bytes will come.
  /// - Throws: `FILE-003`.
  public init(
    _ folder: String, tensors: [TensorSpec], maxShardBytes: Int = 5_000_000_000
  ) throws(Fault) {
    try Folder.make(folder)
    self.folder = folder
    shards = SafetensorsShards(tensors, maxShardBytes: maxShardBytes)
  }

  /// Adds bytes of the tensor `name`; tensors come in order, one may come in several pieces.
  /// - Throws: `CKPT-104`, `FILE-003`.
  public func append(_ name: String, _ bytes: UnsafeRawBufferPointer) throws(Fault) {
    if bytes.isEmpty { return }
    if left == 0 { try openNext() }
    guard let writer else {
      throw Fault(.badWriteOrder, "all tensors are written already", at: .tensor(name))
    }
    try writer.append(name, bytes)
    left -= bytes.count
  }

  /// Finishes the last shard, writes the index, and removes shards and indexes of an older write.
  /// - Throws: `CKPT-104` when bytes are missing, `FILE-003`.
  public func finish() throws(Fault) {
    repeat { try openNext() } while writer != nil
    let index = folder + "/" + SafetensorsFolder.indexName
    if let text = shards.indexText {
      try AtomicFile.write(text, to: index)
    } else {
      try Folder.remove(index)
    }
    let mine = Set(shards.files.map(\.name))
    for name in try Folder.names(folder) where !mine.contains(name) {
      if name == SafetensorsFolder.singleName || SafetensorsShards.isShardName(name) {
        try Folder.remove(folder + "/" + name)
      }
    }
    try Folder.sync(folder)
  }

  /// Ends the current shard and begins the next one that has bytes.
  private func openNext() throws(Fault) {
    repeat {
      try writer?.finish()
      writer = nil
      guard next < shards.files.count else { return }
      let (name, tensors) = shards.files[next]
      writer = try SafetensorsWriter(folder + "/" + name, tensors: tensors)
      left = tensors.reduce(0) { $0 + $1.byteCount }
      next += 1
    } while left == 0
  }
}
