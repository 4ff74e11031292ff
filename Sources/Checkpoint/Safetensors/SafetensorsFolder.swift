import Support
import Tensor

/// The weights of a folder in the published layout: `model.safetensors`, or shards with an index.
public final class SafetensorsFolder: Sendable {
  public static let singleName = "model.safetensors"
  public static let indexName = "model.safetensors.index.json"

  public let path: String
  /// All tensors; for shards file by file in the order of their names.
  public let tensors: [TensorSpec]
  /// What a user should know though it is no error, one sentence each.
  public let notes: [String]

  private let files: [SafetensorsFile]
  private let place: [String: Int]

  /// Opens the folder and checks all headers against the index.
  /// - Throws: `FILE-001` when there are no weights, `CKPT-101`, `CKPT-102`, `CKPT-133`.
  public init(_ path: String, use: PosixFile.Use = .shared) throws(Fault) {
    self.path = path
    let single = path + "/" + Self.singleName
    let index = path + "/" + Self.indexName
    let sharded = Folder.kind(index) == .file ? try SafetensorsIndex(index) : nil
    if Folder.kind(single) == .file {
      let file = try SafetensorsFile(single, use: use)
      try sharded?.checkAgrees(with: file, folder: path)
      files = [file]
      tensors = file.tensors
      notes = []
      place = Dictionary(uniqueKeysWithValues: file.tensors.map { ($0.name, 0) })
      return
    }
    guard let sharded else {
      throw Fault(
        .missingFile, "the folder has no weights", at: .file(path),
        expected: "\(Self.singleName), or \(Self.indexName) with its shards")
    }
    let opened = try sharded.open(folder: path, use: use)
    files = opened.files
    place = opened.place
    notes = opened.notes
    tensors = files.enumerated().flatMap { i, file in
      file.tensors.filter { opened.place[$0.name] == i }
    }
  }

  /// Type and shape of a tensor, or nil when there is none of that name.
  public subscript(name: String) -> TensorSpec? { place[name].flatMap { files[$0][name] } }

  /// The file that holds a tensor.
  /// - Throws: `CKPT-103`.
  public func file(of name: String) throws(Fault) -> SafetensorsFile {
    guard let index = place[name] else {
      throw Fault(.missingTensor, "the folder has no such tensor", at: .tensor(name, file: path))
    }
    return files[index]
  }

  /// Reads a whole tensor; `buffer` has exactly its bytes.
  public func read(_ name: String, into buffer: UnsafeMutableRawBufferPointer) throws(Fault) {
    try file(of: name).read(name, into: buffer)
  }

  /// Reads the slice `rows` of the first dimension.
  public func read(
    _ name: String, rows: Range<Int>, into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    try file(of: name).read(name, rows: rows, into: buffer)
  }

  /// Reads a run of elements in the order of the file.
  public func read(
    _ name: String, elements: Range<Int>, into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    try file(of: name).read(name, elements: elements, into: buffer)
  }

  /// Hands on a run of elements in the order of the file; see `SafetensorsFile.stream`.
  public func stream(
    _ name: String, elements: Range<Int>, through block: AlignedBlock,
    _ body: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    try file(of: name).stream(name, elements: elements, through: block, body)
  }

  /// Reads the box `ranges`, one range per dimension.
  public func read(
    _ name: String, ranges: [Range<Int>], into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    try file(of: name).read(name, ranges: ranges, into: buffer)
  }
}
