import Support

/// `metadata.json`: which kind of checkpoint a folder holds.
enum FormatRecord {
  static let name = "metadata.json"
  /// Exactly these four fields; the real loader fails on any other.
  static let text =
    #"{"sharded_backend": "torch_dist", "sharded_backend_version": 1, "#
    + #""common_backend": "torch", "common_backend_version": 1}"#

  /// - Throws: `CKPT-134` for another kind of checkpoint, `FILE-004`.
  static func check(_ folder: String) throws(Fault) {
    let path = folder + "/" + name
    let bytes = try AtomicFile.read(path, limit: 1 << 20)
    guard let json = try? bytes.withUnsafeBytes({ try JSONValue.parse($0) }) else {
      throw Fault(.badJSON, "not valid JSON", at: .file(path), fix: "copy the checkpoint again")
    }
    guard let object = json.object, object["sharded_backend"]?.string == "torch_dist",
      object["sharded_backend_version"]?.int == 1,
      (object["common_backend"] ?? .string("torch")).string == "torch"
    else {
      throw Fault(
        .unsupportedCheckpoint, "the checkpoint is of another kind", at: .file(path),
        expected: text, found: json.write(.python))
    }
    let known: Set = [
      "sharded_backend", "sharded_backend_version", "common_backend", "common_backend_version",
    ]
    if let extra = object.keys.first(where: { !known.contains($0) }) {
      throw Fault(
        .unsupportedCheckpoint, "the unknown field \(extra)", at: .file(path), expected: text)
    }
  }
}
