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
  public init(_ path: String) throws(Fault) {
    self.path = path
    let single = path + "/" + Self.singleName
    let index = path + "/" + Self.indexName
    let sharded = Folder.kind(index) == .file ? try SafetensorsIndex(index) : nil
    if Folder.kind(single) == .file {
      let file = try SafetensorsFile(single)
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
    let opened = try sharded.open(folder: path)
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

  /// Reads the box `ranges`, one range per dimension.
  public func read(
    _ name: String, ranges: [Range<Int>], into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    try file(of: name).read(name, ranges: ranges, into: buffer)
  }
}

/// The `weight_map` of `model.safetensors.index.json`.
struct SafetensorsIndex {
  let path: String
  let map: [(name: String, file: String)]

  init(_ path: String) throws(Fault) {
    self.path = path
    let json: JSONValue
    do {
      let bytes = try AtomicFile.read(path, limit: SafetensorsHeader.lengthLimit)
      json = try bytes.withUnsafeBytes { try JSONValue.parse($0, uniqueKeys: true) }
    } catch let fault as Fault {
      throw fault
    } catch {
      throw Fault(.badSafetensorsIndex, "not valid JSON (\(error))", at: .file(path))
    }
    guard let members = json["weight_map"]?.object?.members else {
      throw Fault(.badSafetensorsIndex, "no weight_map object", at: .file(path))
    }
    var map: [(String, String)] = []
    for (name, value) in members {
      guard let file = value.string else {
        throw Fault(
          .badSafetensorsIndex, "its file is \(value.kind)", at: .tensor(name, file: path))
      }
      try PlainName.check(file, in: path)
      map.append((name, file))
    }
    self.map = map
  }

  typealias Opened = (files: [SafetensorsFile], place: [String: Int], notes: [String])

  func open(folder: String) throws(Fault) -> Opened {
    let names = Set(map.map(\.file)).sorted()
    var files: [SafetensorsFile] = []
    for name in names { files.append(try SafetensorsFile(folder + "/" + name)) }
    var place: [String: Int] = [:]
    let order = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
    for (name, file) in map {
      guard let index = order[file], files[index][name] != nil else {
        throw Fault(
          .badSafetensorsIndex, "the index puts it into a file that lacks it",
          at: .tensor(name, file: folder + "/" + file), fix: "copy the folder again")
      }
      place[name] = index
    }
    var notes: [String] = []
    for (i, file) in files.enumerated() {
      for spec in file.tensors where place[spec.name] != i {
        notes.append("\(file.path) holds \(spec.name), which the index does not put there: unused")
      }
    }
    return (files, place, notes)
  }

  /// A folder may hold both forms only if they name the same tensors.
  func checkAgrees(with single: SafetensorsFile, folder: String) throws(Fault) {
    func differs(_ message: String) -> Fault {
      Fault(
        .badSafetensorsIndex, "\(SafetensorsFolder.singleName) and the index disagree: \(message)",
        at: .file(path), fix: "remove the one that is out of date")
    }
    let opened: Opened
    do {
      opened = try open(folder: folder)
    } catch {
      throw differs(error.message)
    }
    for spec in single.tensors {
      guard let index = opened.place[spec.name] else {
        throw differs("\(spec.name) is not in the index")
      }
      guard opened.files[index][spec.name] == spec else {
        throw differs("\(spec.name) has another type or shape")
      }
    }
    if let extra = opened.place.keys.filter({ single[$0] == nil }).min() {
      throw differs("\(extra) is only in the index")
    }
  }
}
