import Checkpoint
import Model
import Support
import Tensor

/// Tells one conversion from another, so that what a stopped one left is not used for something else.
enum ConversionPurpose {
  /// A checksum of the source (its files with size and time), and of what is to be written.
  /// - Parameter experts: the order of experts that is written; nil for a Megatron checkpoint.
  static func text(
    _ path: String, source: String, dtype: DType?, experts: ExpertLayout?, files: [UnitFile]
  ) -> String {
    let type = dtype?.rawValue ?? "stored"
    let order = experts?.rawValue ?? ""
    var sum = CRC32C(Array("\(path)\n\(source)\n\(type)\n\(order)".utf8))
    for file in files {
      let units = file.units.map { "\($0.key) \($0.byteCount)" }.joined(separator: "\n")
      sum.append(CRC32C(Array((file.name + "\n" + units).utf8)))
    }
    return "1-\(String(sum.value, radix: 16))-\(files.count)-\(sum.count)"
  }
}

/// What can be known of the files of a folder without reading them.
enum SourceState {
  /// - Throws: `FILE-001`, `FILE-002`.
  static func files(_ folder: String) throws(Fault) -> String {
    var lines: [String] = []
    for name in try Folder.names(folder) {
      let path = folder + "/" + name
      guard let size = Folder.fileSize(path) else { continue }
      lines.append("\(name) \(size) \(Folder.changed(path) ?? 0)")
    }
    return lines.joined(separator: "\n")
  }
}
