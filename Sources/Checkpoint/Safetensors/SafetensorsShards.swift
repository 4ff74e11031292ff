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
