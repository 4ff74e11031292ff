import CHDF5
import Support

/// What an array of a file can hold.
protocol ArrayElement: BitwiseCopyable, Sendable {
  static var kind: chdf5_type { get }
  static var zero: Self { get }
}

extension UInt8: ArrayElement { static var kind: chdf5_type { CHDF5_BYTES } }
extension Int32: ArrayElement { static var kind: chdf5_type { CHDF5_INT32 } }
extension Int64: ArrayElement { static var kind: chdf5_type { CHDF5_INT64 } }
extension Float: ArrayElement { static var kind: chdf5_type { CHDF5_FLOAT } }

/// An HDF5 file of named arrays, each with checksums. One thread uses it.
final class ArrayFile {
  let path: String
  private var handle: OpaquePointer?

  /// Creates a file, replacing one of that name.
  /// - Throws: `FILE-003`.
  init(creating path: String) throws(Fault) {
    self.path = path
    var note = chdf5_note()
    guard chdf5_create(path, &handle, &note) == 0 else {
      throw Fault(.cannotWrite, "cannot create the file: \(note.words)", at: .file(path))
    }
  }

  /// Opens a file for reading.
  /// - Throws: `FILE-001` when there is none, `DATA-501` when it is no HDF5 file.
  init(reading path: String) throws(Fault) {
    self.path = path
    guard Folder.kind(path) == .file else {
      throw Fault(.missingFile, "no such file", at: .file(path), fix: "check the name")
    }
    var note = chdf5_note()
    guard chdf5_open(path, &handle, &note) == 0 else { throw bad(note.words) }
  }

  deinit { chdf5_close(handle) }

  /// Forces everything to the file.
  /// - Throws: `FILE-003`.
  func close() throws(Fault) {
    let open = handle
    handle = nil
    guard chdf5_close(open) == 0 else {
      throw Fault(.cannotWrite, "the file could not be finished", at: .file(path))
    }
  }

  private func bad(_ words: String) -> Fault {
    Fault(
      .badStore, "the encoded data set cannot be read: \(words)", at: .file(path),
      expected: "a file of megatron-export --to_cached_dataset true", fix: "write it again")
  }

  /// Appends to an array, which is made when it is not there.
  /// - Throws: `FILE-003`.
  func append<T: ArrayElement>(_ name: String, _ values: [T]) throws(Fault) {
    var note = chdf5_note()
    guard chdf5_append(handle, name, T.kind, values, Int64(values.count), &note) == 0 else {
      throw Fault(
        .cannotWrite, "cannot write \(name): \(note.words)", at: .file(path), fix: "make room")
    }
  }

  /// - Returns: nil when there is no such array.
  func count(_ name: String) throws(Fault) -> Int? {
    var note = chdf5_note()
    var count: Int64 = -1
    guard chdf5_count(handle, name, &count, &note) == 0 else { throw bad("\(name): \(note.words)") }
    return count < 0 ? nil : Int(count)
  }

  /// A part of an array; all of it without `range`.
  /// - Throws: `DATA-501` if it is missing, damaged, shorter, or of another type.
  func read<T: ArrayElement>(
    _ name: String, as _: T.Type, _ range: Range<Int>? = nil
  ) throws(Fault) -> [T] {
    guard let size = try count(name) else { throw bad("\(name) is missing") }
    let range = range ?? 0..<size
    // Sizes come from a file: a claim larger than the file cannot be met.
    let limit = (Folder.fileSize(path) ?? 0) / MemoryLayout<T>.stride
    guard range.lowerBound >= 0, range.upperBound <= size, range.count <= limit else {
      throw bad("\(name) claims \(size) elements")
    }
    var values = [T](repeating: .zero, count: range.count)
    var note = chdf5_note()
    let code = chdf5_read(
      handle, name, T.kind, Int64(range.lowerBound), Int64(range.count), &values, &note)
    guard code == 0 else { throw bad("\(name): \(note.words)") }
    return values
  }

  func append(_ name: String, text: String) throws(Fault) {
    try append(name, Array(text.utf8))
  }

  func text(_ name: String) throws(Fault) -> String {
    guard let text = String(validating: try read(name, as: UInt8.self), as: UTF8.self) else {
      throw bad("\(name) is no text")
    }
    return text
  }
}

extension chdf5_note {
  fileprivate var words: String {
    withUnsafeBytes(of: text) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }
}

extension FaultCode {
  public static let badStore = FaultCode(
    "DATA-501", .badData, "a file of encoded rows is damaged or none")
  public static let otherStore = FaultCode(
    "DATA-502", .usage, "encoded rows belong to other data, another tokenizer or other settings")
}
