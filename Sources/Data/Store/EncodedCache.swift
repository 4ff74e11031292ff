import Foundation
import Support

/// Encoded rows on disk, found again by a digest of everything they were made from.
///
/// An entry is an HDF5 file with the key inside. One that is damaged or belongs to another key
/// counts as missing.
struct EncodedCache {
  private static let format = "megatron-sft rows 2"
  /// Rows of one entry: what an interrupted pass loses at most.
  static let blockRows = 1000
  let folder: String

  /// The key: any change of a row, of a medium, a setting or the fingerprint gives another one.
  static func key(rows: ArraySlice<StandardRow>, encoder: RowEncoder) -> [UInt8] {
    let hash = Digest(.sha256)
    hash.update(text: format)
    hash.update(text: encoder.options.fingerprint)
    hash.update(text: "\(encoder.options.limit ?? -1) \(encoder.options.truncation.rawValue)")
    hash.update(text: encoder.options.protectedTokens.sorted().description)
    let structure = encoder.structure
    hash.update(
      text: "\(structure.acceptsMedia) \(structure.requiresAnswer) \(encoder.strict)")
    var files: [String: String] = [:]
    for row in rows { hash.update(row, &files, encoder.media) }
    return hash.finish()
  }

  func path(_ key: [UInt8]) -> String {
    folder + "/rows-" + key.prefix(16).map { String(format: "%02x", $0) }.joined() + ".h5"
  }

  /// The outcomes stored under a key, nil when there are none or they are damaged.
  func load(_ key: [UInt8]) -> [RowOutcome]? {
    let path = path(key)
    guard Folder.kind(path) == .file, let file = try? ArrayFile(reading: path),
      (try? file.text("format")) == Self.format, (try? file.read("key", as: UInt8.self)) == key
    else { return nil }
    return (try? EncodedArrays(file: file, prefix: "rows").rows())?.map(\.outcome)
  }

  /// Stores outcomes under a key; the file appears whole or not at all.
  /// - Throws: `FILE-003` when the folder cannot be written.
  func store(_ rows: [StoredRow], key: [UInt8]) throws(Fault) {
    let path = path(key)
    let own = path + "." + UUID().uuidString
    do throws(Fault) {
      try Folder.make(folder)
      let file = try ArrayFile(creating: own)
      try file.append("format", text: Self.format)
      try file.append("key", key)
      try EncodedArrays(file: file, prefix: "rows").append(rows)
      try file.close()
      try Folder.rename(own, to: path)
    } catch {
      try? Folder.remove(own)
      throw Fault(
        .cannotWrite, "the cache of encoded rows cannot be written", at: .file(path),
        fix: "set --load_from_cache_file false, or make the folder writable", cause: error)
    }
  }
}

extension Digest {
  /// Adds everything that the tokens of a row depend on: the row, and the state of its media.
  /// - Parameter files: states that are known, so that a file is asked for once.
  fileprivate func update(
    _ row: StandardRow, _ files: inout [String: String], _ media: (any MediaLoading)?
  ) {
    withUnsafeBytes(of: UInt64(row.messages.count).littleEndian) { update($0) }
    for message in row.messages {
      update(text: message.role)
      update(text: message.content)
      update(text: message.loss.map { "\($0)" } ?? "")
    }
    var rest = row
    rest.messages = []
    update(text: rest.json.write())
    guard let media else { return }
    for path in media.files(of: row) {
      let state = files[path] ?? FileState.text(path)
      files[path] = state
      update(text: state)
    }
  }
}

/// Whether a file is still the one it was.
enum FileState {
  /// Size and time of change, empty for a file that is not there.
  static func text(_ path: String) -> String {
    guard let facts = try? FileManager.default.attributesOfItem(atPath: path) else { return "" }
    let size = (facts[.size] as? NSNumber)?.int64Value ?? -1
    let changed = (facts[.modificationDate] as? Date)?.timeIntervalSince1970 ?? -1
    return "\(path) \(size) \(changed)"
  }
}
