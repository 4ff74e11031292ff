import Foundation
import Testing

@testable import DataPipeline
@testable import Support

/// Files of the tests, beside their sources.
enum Fixtures {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Fixtures").path

  /// Folders with goldens: the copies beside the tests, or the full set that the environment names.
  static let goldens = ProcessInfo.processInfo.environment["MEGATRON_GOLDENS"] ?? "\(root)/goldens"
  static let data = ProcessInfo.processInfo.environment["MEGATRON_DATA"] ?? "\(root)/data"

  static func bad(_ name: String) -> String { "\(root)/data/bad/\(name)" }

  /// A stand-in for the chat template: one token per UTF-8 byte, trained where the assistant speaks.
  static let encode: RowEncoding = { row in
    if let ids = row.inputIDs, let labels = row.labels {
      return EncodedRow(inputIDs: ids, labels: labels, channel: row.channel)
    }
    var encoded = EncodedRow(inputIDs: [], labels: [], channel: row.channel)
    for message in row.messages {
      let ids =
        message.role.prefix(1).utf8.map { Int32($0) } + message.content.utf8.map { Int32($0) }
      encoded.inputIDs += ids
      encoded.labels += message.role == "assistant" ? ids : ids.map { _ in -100 }
    }
    return encoded
  }

  /// A folder that is empty and is removed with the value.
  final class Folder {
    let path: String
    init() throws {
      path = FileManager.default.temporaryDirectory.path + "/data-tests-\(UUID().uuidString)"
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ text: String) throws -> String {
      let file = "\(path)/\(name)"
      try FileManager.default.createDirectory(
        atPath: (file as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
      try Data(text.utf8).write(to: URL(fileURLWithPath: file))
      return file
    }
  }

  /// Rows `name0`, `name1`, ... as a file.
  static func numbered(_ count: Int, _ name: String, in folder: Folder) throws -> String {
    let lines = (0..<count).map { "{\"query\": \"\(name)\($0)\", \"response\": \"r\($0)\"}\n" }
    return try folder.write("\(name).jsonl", lines.joined())
  }

  /// Options for files, in order, not shuffled.
  static func options(_ words: String...) -> DataOptions {
    var options = DataOptions()
    options.sources.train = words
    options.order.shuffle = false
    return options
  }
}
