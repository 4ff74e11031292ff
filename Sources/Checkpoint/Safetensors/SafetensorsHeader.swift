import Support
import Tensor

/// The checked header of a safetensors file: every tensor with its place, no hole, no overlap.
///
///     8 bytes   N, little-endian
///     N bytes   {"__metadata__": {…}, "name": {"dtype": …, "shape": […], "data_offsets": [b, e]}}
///     the rest  data; offsets count from here
///
/// - Source: the format page of the safetensors library; its verdicts on damaged files are tests.
struct SafetensorsHeader: Sendable {
  static let lengthLimit = 100_000_000

  struct Entry: Sendable {
    let spec: TensorSpec
    /// Bytes counted from `dataStart`.
    let range: Range<Int>
  }

  /// In the order of the data.
  var entries: [Entry] = []
  var metadata: [String: String] = [:]
  var dataStart = 0

  /// Reads and checks the header of `file`.
  /// - Throws: `CKPT-101` with the tensor and what is wrong.
  init(file: PosixFile) throws(Fault) {
    func bad(_ message: String, _ fix: String? = nil) -> Fault {
      Fault(.badSafetensors, message, at: .file(file.path), fix: fix)
    }
    let size = try file.size()
    guard size >= 8 else { throw bad("the file is too small to be a safetensors file") }
    var length: UInt64 = 0
    for (i, byte) in try file.read(8, at: 0).enumerated() { length |= UInt64(byte) << (8 * i) }
    guard length <= UInt64(Self.lengthLimit) else {
      throw bad("the header claims \(length) bytes, more than \(Self.lengthLimit)")
    }
    guard Int(length) <= size - 8 else {
      throw bad("the header claims \(length) bytes, more than the file has", "copy the file again")
    }
    let text = try file.read(Int(length), at: 8)
    let json: JSONValue
    do {
      // 128 levels is what the official reader takes.
      json = try text.withUnsafeBytes { try JSONValue.parse($0, maxDepth: 128, uniqueKeys: true) }
    } catch {
      throw bad("the header is not valid JSON (\(error))")
    }
    guard let object = json.object else { throw bad("the header is \(json.kind), not an object") }
    dataStart = 8 + Int(length)
    try take(object, path: file.path)
    try checkLayout(dataSize: size - dataStart, path: file.path)
  }

  private mutating func take(_ object: JSONObject, path: String) throws(Fault) {
    entries.reserveCapacity(object.count)
    for (name, value) in object.members {
      if name == "__metadata__" {
        try takeMetadata(value, path: path)
        continue
      }
      func bad(_ message: String) -> Fault {
        Fault(.badSafetensors, message, at: .tensor(name, file: path))
      }
      guard let fields = value.object else { throw bad("its entry is \(value.kind)") }
      guard let type = fields["dtype"]?.string else { throw bad("it has no dtype") }
      guard let dtype = DType(rawValue: type) else { throw bad("unknown dtype \(type)") }
      guard let shape = Self.sizes(fields["shape"]) else {
        throw bad("its shape is not a list of non-negative integers")
      }
      guard let ends = Self.sizes(fields["data_offsets"]), ends.count == 2 else {
        throw bad("its data_offsets are not two non-negative integers")
      }
      guard ends[0] <= ends[1] else { throw bad("it ends before it begins") }
      guard let bytes = checkedProduct(shape, times: dtype.size) else {
        throw bad("its shape \(shape) overflows")
      }
      guard bytes == ends[1] - ends[0] else {
        throw bad("shape \(shape) of \(type) needs \(bytes) bytes, it has \(ends[1] - ends[0])")
      }
      entries.append(Entry(spec: TensorSpec(name, dtype, shape), range: ends[0]..<ends[1]))
    }
  }

  private mutating func takeMetadata(_ value: JSONValue, path: String) throws(Fault) {
    guard let members = value.object?.members else {
      throw Fault(.badSafetensors, "__metadata__ is \(value.kind)", at: .file(path))
    }
    for (key, value) in members {
      guard let text = value.string else {
        throw Fault(.badSafetensors, "__metadata__.\(key) is not a string", at: .file(path))
      }
      metadata[key] = text
    }
  }

  private mutating func checkLayout(dataSize: Int, path: String) throws(Fault) {
    entries.sort {
      ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
    }
    var end = 0
    for entry in entries {
      guard entry.range.lowerBound == end else {
        throw Fault(
          .badSafetensors, "its data leaves a hole or overlaps another tensor",
          at: .tensor(entry.spec.name, file: path), expected: "a begin at byte \(end)",
          found: "byte \(entry.range.lowerBound)")
      }
      end = entry.range.upperBound
    }
    guard end == dataSize else {
      throw Fault(
        .badSafetensors, "the tensors do not cover the file", at: .file(path),
        expected: "\(end) bytes of data", found: "\(dataSize)", fix: "copy the file again")
    }
  }

  /// Only plain digits count: `4.0`, `-0` and `1e2` are refused, as the official reader does.
  private static func sizes(_ value: JSONValue?) -> [Int]? {
    guard let items = value?.array else { return nil }
    var sizes: [Int] = []
    for item in items {
      guard case .number(let text) = item, text.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }),
        let size = Int(text)
      else { return nil }
      sizes.append(size)
    }
    return sizes
  }
}
