import Support
import Tensor

/// Writes one safetensors file as a stream: the header first, then the tensors in their order.
///
/// The file appears under its name only in `finish`, whole and flushed; until then, and when the
/// writer is dropped, only a temporary file exists.
public final class SafetensorsWriter {
  public let path: String
  private let specs: [TensorSpec]
  private let temporary: String
  private let file: PosixFile
  private var position: Int
  private var current = 0
  private var left = 0
  private var done = false

  /// Creates the temporary file and writes the header.
  /// - Parameters:
  ///   - tensors: in the order in which their bytes will come.
  ///   - metadata: goes into `__metadata__`; the usual readers want `format`.
  /// - Throws: `CKPT-104` for a repeated name or an impossible shape, `FILE-003`.
  public init(
    _ path: String, tensors: [TensorSpec], metadata: [(String, String)] = [("format", "pt")]
  ) throws(Fault) {
    let header = try Self.header(tensors, metadata)
    self.path = path
    specs = tensors
    temporary =
      Folder.parent(path) + "/.tmp_" + Folder.name(path) + "_" + AtomicFile.uniqueName()
    file = try PosixFile(creating: temporary)
    position = header.count
    left = tensors.first?.byteCount ?? 0
    try header.withRaw { (raw) throws(Fault) in try file.write(raw, at: 0) }
    skipFull()
  }

  deinit { if !done { try? Folder.remove(temporary) } }

  /// Adds bytes of the current tensor; a tensor may come in several pieces, none crosses its end.
  /// - Throws: `CKPT-104` when more bytes come than announced, `FILE-003`.
  public func append(_ bytes: UnsafeRawBufferPointer) throws(Fault) {
    guard !bytes.isEmpty else { return }
    guard current < specs.count, bytes.count <= left else {
      throw Fault(
        .badWriteOrder, "\(bytes.count) bytes come where \(left) are missing",
        at: .tensor(current < specs.count ? specs[current].name : "(none left)", file: path))
    }
    try file.write(bytes, at: position)
    position += bytes.count
    left -= bytes.count
    skipFull()
  }

  /// Adds bytes of the tensor `name`, which must be the current one.
  public func append(_ name: String, _ bytes: UnsafeRawBufferPointer) throws(Fault) {
    if bytes.isEmpty { return }
    guard current < specs.count, specs[current].name == name else {
      throw Fault(
        .badWriteOrder, "its bytes come out of order", at: .tensor(name, file: path),
        expected: current < specs.count ? specs[current].name : "the end of the file")
    }
    try append(bytes)
  }

  /// Flushes the file and gives it its name.
  /// - Throws: `CKPT-104` when bytes are missing, `FILE-003`.
  public func finish() throws(Fault) {
    guard current == specs.count else {
      throw Fault(
        .badWriteOrder, "\(left) bytes are missing", at: .tensor(specs[current].name, file: path))
    }
    try file.sync()
    try Folder.rename(temporary, to: path)
    done = true
    try Folder.sync(Folder.parent(path))
  }

  private func skipFull() {
    while current < specs.count, left == 0 {
      current += 1
      left = current < specs.count ? specs[current].byteCount : 0
    }
  }

  /// Length, JSON, and spaces up to a multiple of 8, so that the data is aligned.
  static func header(
    _ tensors: [TensorSpec], _ metadata: [(String, String)]
  ) throws(Fault) -> [UInt8] {
    var object = JSONObject()
    if !metadata.isEmpty {
      object["__metadata__"] = .object(
        JSONObject(metadata.map { (key: $0.0, value: .string($0.1)) }))
    }
    var end = 0
    for spec in tensors {
      guard spec.name != "__metadata__", object[spec.name] == nil else {
        throw Fault(.badWriteOrder, "the name is used twice", at: .tensor(spec.name))
      }
      guard let bytes = checkedProduct(spec.shape, times: spec.dtype.size) else {
        throw Fault(.badWriteOrder, "impossible shape \(spec.shape)", at: .tensor(spec.name))
      }
      object[spec.name] = .object(
        JSONObject([
          ("dtype", .string(spec.dtype.rawValue)),
          ("shape", .array(spec.shape.map { JSONValue($0) })),
          ("data_offsets", .array([JSONValue(end), JSONValue(end + bytes)])),
        ]))
      end += bytes
    }
    var text = Array(JSONValue.object(object).write().utf8)
    text += [UInt8](repeating: UInt8(ascii: " "), count: (8 - text.count % 8) % 8)
    guard text.count <= SafetensorsHeader.lengthLimit else {
      throw Fault(
        .badWriteOrder, "the header needs \(text.count) bytes, more than the format allows",
        fix: "use a smaller shard size")
    }
    return (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text
  }
}
