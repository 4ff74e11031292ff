import Support
import Tensor

/// Optimizer states in flat buffers (`dp_reshardable`), of one model-parallel rank.
///
/// A buffer holds the parameters of the rank in reverse order of their registration, each begun at
/// a multiple of 64 elements, cut into buckets. Only a run with the same split of the model and the
/// same order can use them; the number of data-parallel ranks does not matter.
/// - Source: `_ParamAndGradBuffer` of megatron-core 0.15 and 0.16.
public struct FlatOptimizerStates: Sendable {
  /// Elements between which parameters begin.
  public static let alignment = 64

  private struct Bucket {
    let number: Int
    let keys: [OptimizerPart: String]
    let count: Int
    let begins: Set<Int>
  }

  private let reader: TorchDistReader
  private let places: [String: (bucket: [OptimizerPart: String], range: Range<Int>)]

  static func isFlat(_ key: String) -> Bool { parse(key) != nil }

  /// Finds every parameter in the buffers of a rank.
  /// - Parameters:
  ///   - group: number of the model-parallel rank (`dp_group_idx`).
  ///   - buffer: 0 for the first parameter dtype and so on (`gbuf_idx`).
  ///   - prefix: of a chained optimizer, `chained_1.`.
  ///   - parameters: local element counts in the order of registration.
  /// - Throws: `CKPT-151` when the parameters do not fit the buffers exactly.
  public init(
    _ reader: TorchDistReader, group: Int, buffer: Int = 0, prefix: String = "",
    parameters: [(key: String, count: Int)]
  ) throws(Fault) {
    self.reader = reader
    let buckets = Self.buckets(reader, group: group, buffer: buffer, prefix: prefix)
    func bad(_ message: String) -> Fault {
      Fault(
        .badOptimizerState, "the flat optimizer buffers do not fit this run: \(message)",
        at: .file(reader.folder),
        fix: "load with the same model-parallel sizes as the save, or without the optimizer")
    }
    guard !buckets.isEmpty else { throw bad("there are none for model-parallel rank \(group)") }
    var places: [String: ([OptimizerPart: String], Range<Int>)] = [:]
    var current = 0
    var end = 0
    for (key, count) in parameters.reversed() {
      var begin = (end + Self.alignment - 1) / Self.alignment * Self.alignment
      if begin + count > buckets[current].count {
        guard end == buckets[current].count, current + 1 < buckets.count,
          count <= buckets[current + 1].count
        else { throw bad("\(key) with \(count) elements does not fit at \(begin)") }
        current += 1
        begin = 0
      }
      let bucket = buckets[current]
      guard count == 0 || bucket.begins.contains(begin) else {
        throw bad("no parameter begins at element \(begin), where \(key) should")
      }
      places[key] = (bucket.keys, begin..<begin + count)
      end = begin + count
    }
    guard current == buckets.count - 1, end == buckets[current].count else {
      throw bad("\(buckets[current].count - end) elements are left over")
    }
    self.places = places
  }

  /// Reads elements of the flattened local parameter.
  /// - Throws: `CKPT-103`, `CKPT-135` and what `TorchDistReader.read` throws.
  public func read(
    _ part: OptimizerPart, of key: String, elements: Range<Int>? = nil,
    into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    guard let place = places[key], let stored = place.bucket[part] else {
      throw Fault(
        .missingTensor, "the buffers have no \(part.rawValue) of it",
        at: .tensor(key, file: reader.folder))
    }
    let local = elements ?? 0..<place.range.count
    guard local.lowerBound >= 0, local.upperBound <= place.range.count else {
      throw Fault(
        .badRequest, "elements \(local) of \(place.range.count)",
        at: .tensor(key, file: reader.folder))
    }
    let from = place.range.lowerBound
    let range = from + local.lowerBound..<from + local.upperBound
    try reader.read(stored, ranges: [range], into: buffer)
  }

  private static func buckets(
    _ reader: TorchDistReader, group: Int, buffer: Int, prefix: String
  ) -> [Bucket] {
    var keys: [Int: [OptimizerPart: String]] = [:]
    for key in reader.index.keys where reader[key] != nil {
      guard let found = parse(key), found.prefix == prefix, found.group == group,
        found.buffer == buffer
      else { continue }
      keys[found.bucket, default: [:]][found.part] = key
    }
    return keys.sorted { $0.key < $1.key }.compactMap { number, parts in
      guard let first = parts.values.first, let tensor = reader[first] else { return nil }
      return Bucket(
        number: number, keys: parts, count: tensor.spec.count,
        begins: Set(tensor.chunks.compactMap { $0.box.offsets.first }))
    }
  }

  private struct Key {
    let prefix: String
    let group: Int
    let buffer: Int
    let bucket: Int
    let part: OptimizerPart
  }

  /// `optimizer.distributed.dp_group_idx_0.gbuf_idx_0.dtype_(…).bucket_idx_0.exp_avg`.
  private static func parse(_ key: String) -> Key? {
    let pattern =
      /(.*)optimizer\.distributed\.dp_group_idx_([0-9]{1,9})\.gbuf_idx_([0-9]{1,9})\.dtype_\(.*\)\.bucket_idx_([0-9]{1,9})\.(param|exp_avg|exp_avg_sq)/
    guard let match = key.wholeMatch(of: pattern), let group = Int(match.2),
      let buffer = Int(match.3), let bucket = Int(match.4),
      let part = OptimizerPart(rawValue: String(match.5))
    else { return nil }
    return Key(
      prefix: String(match.1), group: group, buffer: buffer, bucket: bucket, part: part)
  }
}
