import Foundation
import Support

extension StandardRow {
  /// The row as one object that reads back as the same row.
  public var json: JSONValue {
    var object = JSONObject()
    if inputIDs == nil { object["messages"] = .array(messages.map(\.json)) }
    for (name, list) in [("images", images), ("videos", videos), ("audios", audios)] {
      if !list.isEmpty { object[name] = .array(list) }
    }
    if let inputIDs { object["input_ids"] = .array(inputIDs.map { JSONValue(Int($0)) }) }
    if let labels { object["labels"] = .array(labels.map { JSONValue(Int($0)) }) }
    object["tools"] = tools
    object["objects"] = objects
    object["channel"] = channel.map { .string($0) }
    for (key, value) in others.members { object[key] = value }
    return .object(object)
  }
}

/// The rows that were split off for validation, as a data file of the run.
public enum ValidationFile {
  public static let name = "val_dataset.jsonl"

  /// Writes one JSON object per line to `folder`/val_dataset.jsonl.
  /// - Throws: `FILE-003` when it cannot be written.
  public static func write(_ rows: [StandardRow], folder: String) throws(Fault) {
    let text = rows.map { $0.json.write(.python) + "\n" }.joined()
    let path = "\(folder)/\(name)"
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
    } catch {
      throw Fault(
        .cannotWrite, "the validation rows cannot be written", at: .file(path), cause: error)
    }
  }
}
