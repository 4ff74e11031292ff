import Foundation
import Support

extension DatasetRegistry {
  private static let keys: Set<String> = [
    "ms_dataset_id", "hf_dataset_id", "dataset_path", "dataset_name", "subsets", "split",
    "columns", "help", "tags", "ms_revision", "hf_revision", "huge_dataset",
  ]

  /// Registers the entries of one file of `--custom_dataset_info`.
  /// - Throws: `DATA-109` naming the entry and the member that cannot be understood.
  public mutating func addCustomInfo(file: String) throws(Fault) {
    guard let bytes = FileManager.default.contents(atPath: file) else {
      throw Fault(.missingFile, "the file does not exist", at: .file(file))
    }
    let value = try parseJSON([UInt8](bytes), path: file, firstLine: 1)
    guard let list = value.array else {
      throw Fault(
        .badDatasetInfo, "expected a list of entries, found \(value.kind)", at: .file(file))
    }
    let folder = (file as NSString).deletingLastPathComponent
    for (i, item) in list.enumerated() {
      add(try Self.entry(item, place: "entry \(i + 1)", file: file, folder: folder))
    }
  }

  private static func entry(
    _ value: JSONValue, place: String, file: String, folder: String
  ) throws(Fault) -> DatasetRegistration {
    func bad(_ text: String) -> Fault {
      Fault(.badDatasetInfo, "\(place): \(text)", at: .file(file))
    }
    guard let object = value.object else { throw bad("expected an object, found \(value.kind)") }
    if let unknown = object.keys.first(where: { !keys.contains($0) }) {
      throw bad("\(unknown) is not known; members are \(keys.sorted().joined(separator: ", "))")
    }
    var entry = DatasetRegistration()
    entry.modelScopeID = object["ms_dataset_id"]?.string
    entry.huggingFaceID = object["hf_dataset_id"]?.string
    entry.path = object["dataset_path"]?.string.map { absolute($0, folder: folder) }
    entry.name = object["dataset_name"]?.string
    guard entry.modelScopeID ?? entry.huggingFaceID ?? entry.path != nil else {
      throw bad("one of ms_dataset_id, hf_dataset_id, dataset_path must be given as text")
    }
    if let splits = try texts(object["split"], bad("split must be a list of names")) {
      entry.splits = splits
    }
    entry.columns = try columns(object["columns"], bad("columns must map names to names"))
    if let list = object["subsets"], !list.isNull {
      guard let items = list.array else { throw bad("subsets must be a list") }
      entry.subsets = []
      for item in items {
        entry.subsets.append(try subset(item, bad("a subset is a name or {subset, name, ...}")))
      }
    }
    return entry
  }

  private static func absolute(_ path: String, folder: String) -> String {
    let full = (path as NSString).expandingTildeInPath
    return full.hasPrefix("/") || folder.isEmpty ? full : "\(folder)/\(full)"
  }

  private static func subset(
    _ value: JSONValue, _ fault: Fault
  ) throws(Fault) -> DatasetRegistration.Subset {
    if let name = value.string { return DatasetRegistration.Subset(name) }
    guard let name = value["subset"]?.string else { throw fault }
    var subset = DatasetRegistration.Subset(name, name: value["name"]?.string)
    subset.splits = try texts(value["split"], fault)
    subset.columns = try columns(value["columns"], fault)
    subset.isWeak = value["is_weak_subset"]?.bool ?? false
    return subset
  }

  private static func texts(_ value: JSONValue?, _ fault: Fault) throws(Fault) -> [String]? {
    guard let value, !value.isNull else { return nil }
    if let one = value.string { return [one] }
    let names = value.array?.compactMap(\.string) ?? []
    guard !names.isEmpty, names.count == value.array?.count else { throw fault }
    return names
  }

  private static func columns(
    _ value: JSONValue?, _ fault: Fault
  ) throws(Fault) -> [String: String] {
    guard let value, !value.isNull else { return [:] }
    guard let object = value.object else { throw fault }
    var names: [String: String] = [:]
    for (key, target) in object.members {
      guard let name = target.string else { throw fault }
      names[key] = name
    }
    return names
  }
}
