import Support

/// `manifest.json`: every file of a checkpoint with its size and CRC-32C, and what the run needs to
/// go on. Other readers of the folder ignore it.
///
/// The last member is the checksum of the text before it, so that a damaged manifest is known.
public struct Manifest: Sendable, Equatable {
  public static let fileName = "manifest.json"
  private static let format = "megatron-sft checkpoint"

  public let iteration: Int
  /// What the caller keeps with the checkpoint: options, data position, versions.
  public let info: JSONObject
  /// Sorted by name.
  public let files: [WrittenFile]

  public init(iteration: Int, info: JSONObject, files: [WrittenFile]) {
    self.iteration = iteration
    self.info = info
    self.files = files.sorted { $0.name < $1.name }
  }

  private var object: JSONObject {
    JSONObject([
      ("format", .string(Self.format)), ("version", JSONValue(1)),
      ("iteration", JSONValue(iteration)), ("info", .object(info)),
      (
        "files",
        .array(
          files.map {
            .object(
              JSONObject([
                ("name", .string($0.name)), ("size", JSONValue($0.size)),
                ("crc32c", .string(Self.hex($0.crc32c))),
              ]))
          })
      ),
    ])
  }

  /// The text of the file.
  var text: String {
    var object = object
    object["self_crc32c"] = .string(Self.selfChecksum(object))
    return JSONValue.object(object).write(.indented) + "\n"
  }

  /// Over the compact text of the other members, so that indentation does not count.
  private static func selfChecksum(_ object: JSONObject) -> String {
    hex(CRC32C(Array(JSONValue.object(object).write().utf8)).value)
  }

  private static func hex(_ value: UInt32) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: 8 - text.count) + text
  }

  /// Reads and checks the manifest of an iteration folder; nil when it has none (a checkpoint of
  /// another program).
  /// - Throws: `CKPT-144` when the manifest itself is damaged, `FILE-002`.
  public static func read(_ folder: String) throws(Fault) -> Manifest? {
    let path = folder + "/" + fileName
    guard Folder.kind(path) == .file else { return nil }
    func bad(_ message: String) -> Fault {
      Fault(
        .manifestMismatch, "the manifest is damaged: \(message)", at: .file(path),
        fix: "copy the checkpoint again, or load an older one")
    }
    let bytes = try AtomicFile.read(path, limit: 1 << 28)
    guard let json = try? bytes.withUnsafeBytes({ try JSONValue.parse($0, uniqueKeys: true) }),
      var object = json.object
    else { throw bad("not valid JSON") }
    guard let stated = object["self_crc32c"]?.string else { throw bad("its checksum is missing") }
    object["self_crc32c"] = nil
    guard selfChecksum(object) == stated else { throw bad("its checksum does not fit") }
    guard object["format"]?.string == format, object["version"]?.int == 1 else {
      throw Fault(
        .unsupportedCheckpoint, "the manifest is of an unknown version", at: .file(path),
        fix: "use a newer version of this program")
    }
    guard let iteration = object["iteration"]?.int, let info = object["info"]?.object,
      let list = object["files"]?.array
    else { throw bad("a member is missing") }
    var files: [WrittenFile] = []
    for entry in list {
      guard let name = entry["name"]?.string, let size = entry["size"]?.int, size >= 0,
        let crc = entry["crc32c"]?.string.flatMap({ UInt32($0, radix: 16) })
      else { throw bad("an entry is not readable") }
      try PlainName.check(name, in: path)
      files.append(WrittenFile(name: name, size: size, crc32c: crc))
    }
    return Manifest(iteration: iteration, info: info, files: files)
  }

  /// Tests that all files are there with their sizes; reads no content.
  /// - Throws: `CKPT-143`.
  public func checkSizes(_ folder: String) throws(Fault) {
    for file in files {
      let path = folder + "/" + file.name
      guard let size = Folder.fileSize(path) else {
        throw Fault(
          .incompleteCheckpoint, "a file of the manifest is missing", at: .file(path),
          fix: "copy the checkpoint again, or load an older one")
      }
      guard size == file.size else {
        throw Fault(
          .incompleteCheckpoint, "a file has another size than the manifest says",
          at: .file(path), expected: "\(file.size) bytes", found: "\(size) bytes",
          fix: "copy the checkpoint again, or load an older one")
      }
    }
  }

  /// Reads the files and compares their checksums. Ranks may share the work: each takes every
  /// `parts`-th file.
  /// - Throws: `CKPT-143`, `CKPT-144`, `FILE-002`.
  public func verify(_ folder: String, part: Int = 0, of parts: Int = 1) throws(Fault) {
    try checkSizes(folder)
    for (i, file) in files.enumerated() where i % max(parts, 1) == part {
      let found = try Self.checksum(folder + "/" + file.name)
      guard found == file.crc32c else {
        throw Fault(
          .manifestMismatch, "the content differs from what was saved",
          at: .file(folder + "/" + file.name), expected: "CRC-32C \(Self.hex(file.crc32c))",
          found: Self.hex(found), fix: "copy the checkpoint again, or load an older one")
      }
    }
  }

  /// The CRC-32C of a file, read in blocks.
  /// - Throws: `FILE-001`, `FILE-002`.
  public static func checksum(_ path: String) throws(Fault) -> UInt32 {
    let file = try PosixFile(reading: path)
    let size = try file.size()
    var block = [UInt8](repeating: 0, count: min(4 << 20, max(size, 1)))
    var crc = CRC32C()
    while crc.count < size {
      try block.withMutableRaw { (raw) throws(Fault) in
        let part = UnsafeMutableRawBufferPointer(rebasing: raw[..<min(raw.count, size - crc.count)])
        try file.read(into: part, at: crc.count)
        crc.update(UnsafeRawBufferPointer(part))
      }
    }
    return crc.value
  }
}
