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
          files.map(Self.json))
      ),
    ])
  }

  private static func json(_ file: WrittenFile) -> JSONValue {
    var object = JSONObject([
      ("name", .string(file.name)), ("size", JSONValue(file.size)),
      ("crc32c", .string(hex(file.crc32c))),
    ])
    if !file.items.isEmpty {
      object["items"] = .array(
        file.items.map {
          .array([.string($0.key), JSONValue($0.length), .string(hex($0.crc32c))])
        })
    }
    return .object(object)
  }

  /// A file of the list; nil when the entry is not readable or its items are not the whole file.
  private static func file(_ entry: JSONValue) -> WrittenFile? {
    guard let name = entry["name"]?.string, let size = entry["size"]?.int, size >= 0,
      let crc = entry["crc32c"]?.string.flatMap({ UInt32($0, radix: 16) })
    else { return nil }
    var items: [WrittenFile.Item] = []
    var offset = 0
    for item in entry["items"]?.array ?? [] {
      guard let fields = item.array, fields.count == 3, let key = fields[0].string,
        let length = fields[1].int, length > 0, length <= size - offset,
        let crc = fields[2].string.flatMap({ UInt32($0, radix: 16) })
      else { return nil }
      items.append(
        WrittenFile.Item(key: key, offset: offset, length: length, crc32c: crc))
      offset += length
    }
    guard items.isEmpty || offset == size else { return nil }
    return WrittenFile(name: name, size: size, crc32c: crc, items: items)
  }

  /// The text of the file.
  var text: String {
    var object = object
    object["self_crc32c"] = .string(Self.selfChecksum(object))
    return JSONValue.object(object).write(.indented) + "\n"
  }

  /// Writes the manifest of files that lie in `folder` already.
  /// - Throws: `CKPT-143` when one is not there with its size, `FILE-003`.
  public func write(to folder: String) throws(Fault) {
    try checkSizes(folder)
    try AtomicFile.write(text, to: folder + "/" + Self.fileName)
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
      guard let file = Self.file(entry) else { throw bad("an entry is not readable") }
      try PlainName.check(file.name, in: path)
      files.append(file)
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

  /// Reads the files and compares their checksums, item by item where the items are known. Ranks may
  /// share the work: each takes about one of `parts` equal parts of the bytes.
  /// - Throws: `CKPT-143`; `CKPT-144` naming tensor, file and bytes; `FILE-002`.
  public func verify(_ folder: String, part: Int = 0, of parts: Int = 1) throws(Fault) {
    try checkSizes(folder)
    let total = files.reduce(0) { $0 + $1.size }
    var begin = 0
    for entry in files {
      let path = folder + "/" + entry.name
      let whole = WrittenFile.Item(
        key: "", offset: 0, length: entry.size, crc32c: entry.crc32c)
      var file: PosixFile?
      for item in entry.items.isEmpty ? [whole] : entry.items {
        let owner = total > 0 ? (begin + item.offset) * max(parts, 1) / total : 0
        guard owner == part || (owner >= parts && part == parts - 1) else { continue }
        let open: PosixFile
        if let file { open = file } else { open = try PosixFile(reading: path) }
        file = open
        try Self.check(item, of: open)
      }
      begin += entry.size
    }
  }

  private static func check(_ item: WrittenFile.Item, of file: PosixFile) throws(Fault) {
    let found = try checksum(file, item.offset..<item.offset + item.length)
    guard found != item.crc32c else { return }
    let place: Fault.Place =
      item.key.isEmpty ? .file(file.path) : .tensor(item.key, file: file.path)
    throw Fault(
      .manifestMismatch,
      "the content of bytes \(item.offset)..<\(item.offset + item.length) differs from what was saved",
      at: place, expected: "CRC-32C \(hex(item.crc32c))", found: hex(found),
      fix: "copy the checkpoint again, or load an older one")
  }

  /// The CRC-32C of a file, read in blocks.
  /// - Throws: `FILE-001`, `FILE-002`.
  public static func checksum(_ path: String) throws(Fault) -> UInt32 {
    let file = try PosixFile(reading: path)
    return try checksum(file, 0..<file.size())
  }

  private static func checksum(_ file: PosixFile, _ range: Range<Int>) throws(Fault) -> UInt32 {
    var block = [UInt8](repeating: 0, count: min(4 << 20, max(range.count, 1)))
    var crc = CRC32C()
    while crc.count < range.count {
      try block.withMutableRaw { (raw) throws(Fault) in
        let count = min(raw.count, range.count - crc.count)
        let part = UnsafeMutableRawBufferPointer(rebasing: raw[..<count])
        try file.read(into: part, at: range.lowerBound + crc.count)
        crc.update(UnsafeRawBufferPointer(part))
      }
    }
    return crc.value
  }
}
