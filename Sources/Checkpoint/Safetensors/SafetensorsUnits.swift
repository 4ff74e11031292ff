import Support
import Tensor

/// A folder of safetensors that is written as units: per file the header, then the tensors.
public struct SafetensorsUnits {
  public let shards: SafetensorsShards
  public let files: [UnitFile]

  /// - Parameters:
  ///   - tensors: dealt to files in this order.
  ///   - stream: gives the bytes of a tensor.
  /// - Throws: `CKPT-104` for a repeated name.
  public init(
    _ tensors: [TensorSpec], maxShardBytes: Int, stream: (TensorSpec) -> ByteStream
  ) throws(Fault) {
    shards = SafetensorsShards(tensors, maxShardBytes: maxShardBytes)
    var files: [UnitFile] = []
    for (name, tensors) in shards.files {
      let header = try SafetensorsWriter.header(tensors, [("format", "pt")])
      var units = [
        UnitFile.Unit.raw("", byteCount: header.count) { (emit) throws(Fault) in
          try header.withRaw { (raw) throws(Fault) in try emit(raw) }
        }
      ]
      for spec in tensors {
        units.append(.raw(spec.name, byteCount: spec.byteCount, stream(spec)))
      }
      files.append(UnitFile(name: name, units: units))
    }
    self.files = files
  }

  /// What a manifest has to say of a file.
  public static func written(_ file: UnitFile, _ units: [WrittenUnit]) -> WrittenFile {
    var digest = CRC32C()
    for unit in units { digest.append(CRC32C(value: unit.crc32c, count: unit.length)) }
    return WrittenFile(name: file.name, size: digest.count, crc32c: digest.value)
  }

  /// Gives finished files their place: shards, then the index; older ones of another write go.
  /// - Parameter staging: the folder they were written in, on the same file system.
  /// - Throws: `FILE-003`.
  public func publish(from staging: String, to folder: String) throws(Fault) {
    for file in files {
      try Folder.rename(staging + "/" + file.name, to: folder + "/" + file.name)
    }
    try Folder.sync(folder)
    let index = folder + "/" + SafetensorsFolder.indexName
    if let text = shards.indexText {
      try AtomicFile.write(text, to: index)
    } else {
      try Folder.remove(index)
    }
    let mine = Set(files.map(\.name))
    for name in try Folder.names(folder) where !mine.contains(name) {
      if name == SafetensorsFolder.singleName || SafetensorsShards.isShardName(name) {
        try Folder.remove(folder + "/" + name)
      }
    }
    try Folder.sync(folder)
  }
}
