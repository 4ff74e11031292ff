import Support
import Tensor

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

  func open(folder: String, use: PosixFile.Use = .shared) throws(Fault) -> Opened {
    let names = Set(map.map(\.file)).sorted()
    var files: [SafetensorsFile] = []
    for name in names { files.append(try SafetensorsFile(folder + "/" + name, use: use)) }
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
