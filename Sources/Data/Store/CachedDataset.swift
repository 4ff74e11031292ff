import Foundation
import Support

/// One of the things that encoded rows depend on beside the data: the tokenizer, the template, how
/// media are read.
public struct EncodingPart: Sendable, Equatable {
  /// For messages.
  public let name: String
  /// Changes when what it stands for changes.
  public let text: String
  public init(_ name: String, _ text: String) {
    self.name = name
    self.text = text
  }
}

/// A part of a cached data set, as training takes it.
struct CachedRows: Sendable {
  var rows: [StoredRow]
  /// Rows in the order they are used; they may repeat.
  var order: [Int]
  /// Rows of each pack, and the tokens that a pack was made for.
  var packs: [[Int]]
  var capacity: Int?
}

/// A data set that was encoded once for many runs: an HDF5 file with the rows of both sets, the plan
/// of packing, and what it was made from.
enum CachedDataset {
  static let format = "megatron-sft cached data set 1"
  static let training = "train"
  static let validation = "validation"

  /// Reads both sets.
  /// - Parameter media: finds the media that the rows were made from.
  /// - Throws: `FILE-001`, `DATA-501` for a damaged file, `DATA-502` if the tokenizer, the template,
  ///   a data file, a picture or a clip is another one now.
  static func read(
    _ path: String, parts: [EncodingPart], media: (any MediaLoading)?
  ) throws(Fault) -> (train: CachedRows?, validation: CachedRows?) {
    if Folder.kind(path) == .folder {
      throw Fault(
        .badStore, "a folder is no cached data set of this program", at: .file(path),
        expected: "an HDF5 file",
        fix: "encode the data with megatron-export --to_cached_dataset true")
    }
    let file = try ArrayFile(reading: path)
    guard try file.count("format") != nil, try file.text("format") == format else {
      throw Fault(
        .badStore, "the file holds no cached data set", at: .file(path), expected: format,
        fix: "write it with megatron-export --to_cached_dataset true")
    }
    guard let about = try? JSONValue.parse(try file.text("about")) else {
      throw Fault(.badStore, "what the data set was made from cannot be read", at: .file(path))
    }
    try check(about, parts, path)
    try MediaRecord(about["media"], store: path).check(media, store: path)
    return (try rows(training, in: file), try rows(validation, in: file))
  }

  private static func check(
    _ about: JSONValue, _ parts: [EncodingPart], _ path: String
  ) throws(Fault) {
    for part in parts where about["parts"]?[part.name]?.string != part.text {
      throw Fault(
        .otherStore, "the rows were encoded with another \(part.name)", at: .file(path),
        fix: "encode the data again with the options of this run")
    }
    for source in about["sources"]?.array ?? [] {
      guard let name = source["path"]?.string, Folder.kind(name) == .file else { continue }
      let same = Folder.fileSize(name) == source["size"]?.int
      if same, source["state"]?.string == FileState.text(name) { continue }
      guard same, try FileState.digest(name) == source["sha256"]?.string else {
        throw Fault(
          .otherStore, "\(name) changed since the rows were encoded", at: .file(path),
          fix: "encode the data again")
      }
    }
  }

  private static func rows(_ prefix: String, in file: ArrayFile) throws(Fault) -> CachedRows? {
    guard try file.count(prefix + "/order") != nil else { return nil }
    let rows = try EncodedArrays(file: file, prefix: prefix).rows()
    let order = try file.read(prefix + "/order", as: Int64.self).map { Int($0) }
    var result = CachedRows(rows: rows, order: order, packs: [], capacity: nil)
    if try file.count(prefix + "/packs") != nil {
      let members = try file.read(prefix + "/packs", as: Int64.self).map { Int($0) }
      let ends = try file.read(prefix + "/pack_ends", as: Int64.self).map { Int($0) }
      result.capacity = try file.read(prefix + "/capacity", as: Int64.self).first.map { Int($0) }
      var start = 0
      for end in ends {
        guard end >= start, end <= members.count else { throw outside(file.path) }
        result.packs.append(Array(members[start..<end]))
        start = end
      }
    }
    guard (order + result.packs.flatMap { $0 }).allSatisfy({ rows.indices.contains($0) }) else {
      throw outside(file.path)
    }
    return result
  }

  private static func outside(_ path: String) -> Fault {
    Fault(
      .badStore, "the order of the rows names rows that are not there", at: .file(path),
      fix: "write the file again")
  }
}

extension FileState {
  /// SHA-256 of a file, in hexadecimal digits.
  /// - Throws: `FILE-001`, `FILE-002`.
  static func digest(_ path: String) throws(Fault) -> String { try Digest.of(file: path) }
}
