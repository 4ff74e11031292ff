import Support

/// Tells a whole checkpoint from the rest of a crash.
public enum Completeness {
  /// With a manifest: all its files with their sizes. Without: the index decodes and all the data
  /// it names is there.
  /// - Throws: `CKPT-143`, `CKPT-144`, or what the index is lacking.
  public static func check(_ folder: String) throws(Fault) {
    if let manifest = try Manifest.read(folder) { return try manifest.checkSizes(folder) }
    if Folder.kind(folder + "/" + FormatRecord.name) == .file {
      try FormatRecord.check(folder)
      guard Folder.kind(folder + "/" + CommonState.fileName) == .file else {
        throw Fault(
          .incompleteCheckpoint, "\(CommonState.fileName) is missing", at: .file(folder))
      }
    }
    _ = try TorchDistReader(folder)
  }
}
