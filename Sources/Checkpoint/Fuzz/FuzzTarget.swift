import Support

/// The readers of foreign bytes, one by one, for damaged input.
public enum FuzzTarget: String, CaseIterable, Sendable {
  case pickle, index, archive, safetensors

  /// Which reader takes a file of this name.
  public init?(fileName: String) {
    if fileName == ".metadata" {
      self = .index
    } else if fileName.hasSuffix(".safetensors") {
      self = .safetensors
    } else if fileName.hasSuffix(".pkl") {
      self = .pickle
    } else if fileName.hasSuffix(".pt") || fileName.hasSuffix(".distcp") {
      self = .archive
    } else {
      return nil
    }
  }

  /// Reads the bytes as far as a user's file would be read.
  /// - Parameter scratch: the path of a file that may be overwritten.
  /// - Returns: the fault that refuses them, or nil when they are taken.
  public func read(_ bytes: [UInt8], scratch: String) -> Fault? {
    do throws(Fault) {
      switch self {
      case .pickle:
        _ = try PickleValue.decode(
          bytes, path: scratch, allow: .object, limits: TorchFile.limits)
      case .index: _ = try DistIndex(bytes, path: scratch)
      case .archive: try Self.archive(bytes, scratch)
      case .safetensors:
        try Folder.remove(scratch)
        let file = try PosixFile(creating: scratch)
        try bytes.withRaw { (raw) throws(Fault) in try file.write(raw, at: 0) }
        let read = try SafetensorsFile(scratch)
        for spec in read.tensors { _ = try read.bytes(spec.name) }
      }
      return nil
    } catch {
      return error
    }
  }

  /// Everything in an archive: its value, its tensors, its entries.
  private static func archive(_ bytes: [UInt8], _ path: String) throws(Fault) {
    let archive = try TorchArchive(
      ByteSource(bytes, path: path), allow: .inert, limits: TorchFile.limits)
    _ = archive.value.text()
    if let record = try TensorRecord(archive.value, path: path) { _ = try archive.tensor(record) }
    for entry in archive.zip.entries { try archive.zip.verify(entry) }
  }
}
