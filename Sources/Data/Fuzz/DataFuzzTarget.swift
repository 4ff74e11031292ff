import Support

/// The readers of foreign data files, one by one, for damaged input.
public enum DataFuzzTarget: String, CaseIterable, Sendable {
  case parquet, zip

  /// Which reader takes a file of this name.
  public init?(fileName: String) {
    if fileName.hasSuffix(".parquet") {
      self = .parquet
    } else if fileName.hasSuffix(".zip") {
      self = .zip
    } else {
      return nil
    }
  }

  /// Reads the bytes as far as a user's file would be read.
  /// - Parameter scratch: the path of a file and of a folder beside it that may be overwritten.
  /// - Returns: the fault that refuses them, or nil when they are taken.
  public func read(_ bytes: [UInt8], scratch: String) -> Fault? {
    do throws(Fault) {
      try Folder.remove(scratch)
      try AtomicFile.write(bytes, to: scratch)
      switch self {
      case .parquet:
        let reader = try ParquetReader(path: scratch)
        while try reader.next() != nil {}
      case .zip:
        let folder = scratch + ".clips"
        try Folder.remove(folder)
        _ = try ClipArchive(path: scratch, cache: folder).clips()
      }
      return nil
    } catch {
      return error
    }
  }
}
