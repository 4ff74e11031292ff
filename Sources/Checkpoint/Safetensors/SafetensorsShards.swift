import Support
import Tensor

/// How tensors are dealt to the files of a sharded folder.
public struct SafetensorsShards: Sendable {
  /// File name and tensors of each shard; one shard means `model.safetensors` without an index.
  public let files: [(name: String, tensors: [TensorSpec])]
  public let totalBytes: Int

  /// Deals greedily in the given order; a tensor is never split, so a larger one fills a file.
  /// - Parameter maxShardBytes: see `bytes(of:)`.
  public init(_ tensors: [TensorSpec], maxShardBytes: Int) {
    var groups: [[TensorSpec]] = [[]]
    var size = 0
    var total = 0
    for spec in tensors {
      if size + spec.byteCount > maxShardBytes, let last = groups.last, !last.isEmpty {
        groups.append([])
        size = 0
      }
      groups[groups.count - 1].append(spec)
      size += spec.byteCount
      total += spec.byteCount
    }
    totalBytes = total
    let count = groups.count
    files = groups.enumerated().map { i, tensors in
      (count == 1 ? SafetensorsFolder.singleName : Self.name(i + 1, of: count), tensors)
    }
  }

  /// The text of `model.safetensors.index.json`, or nil when one file needs none.
  public var indexText: String? {
    guard files.count > 1 else { return nil }
    var pairs: [(key: String, value: JSONValue)] = []
    for (file, tensors) in files { pairs += tensors.map { ($0.name, .string(file)) } }
    pairs.sort { $0.key < $1.key }
    let value = JSONValue.object(
      JSONObject([
        ("metadata", .object(JSONObject([("total_size", JSONValue(totalBytes))]))),
        ("weight_map", .object(JSONObject(pairs))),
      ]))
    return value.write(.indented) + "\n"
  }

  static func name(_ number: Int, of count: Int) -> String {
    func five(_ n: Int) -> String {
      String(repeating: "0", count: max(0, 5 - String(n).count)) + String(n)
    }
    return "model-\(five(number))-of-\(five(count)).safetensors"
  }

  /// Whether a file name belongs to a sharded folder (`model-00001-of-00002.safetensors`).
  static func isShardName(_ name: String) -> Bool {
    name.wholeMatch(of: /model-[0-9]{5,}-of-[0-9]{5,}\.safetensors/) != nil
  }

  /// Bytes of a size such as `5GB` (decimal) or `4GiB` (binary).
  /// - Throws: `CKPT-105` with the accepted forms.
  public static func bytes(of text: String) throws(Fault) -> Int {
    let units: [(String, Int)] = [
      ("KIB", 1 << 10), ("MIB", 1 << 20), ("GIB", 1 << 30), ("TIB", 1 << 40),
      ("KB", 1000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000),
      ("B", 1), ("", 1),
    ]
    let upper = text.uppercased().filter { $0 != " " }
    for (unit, factor) in units where upper.hasSuffix(unit) {
      guard let value = Double(upper.dropLast(unit.count)) else { break }
      let bytes = value * Double(factor)
      guard bytes >= 1, bytes < 9e18 else { break }
      return Int(bytes)
    }
    throw Fault(
      .badShardSize, "\"\(text)\" is not a shard size", expected: "a size such as 5GB or 500MB")
  }

  /// Tensors sorted so that each begins at a multiple of its element size: larger elements first,
  /// then by name (the order of the usual writers).
  public static func aligned(_ tensors: [TensorSpec]) -> [TensorSpec] {
    tensors.sorted { ($1.dtype.size, $0.name) < ($0.dtype.size, $1.name) }
  }
}

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
