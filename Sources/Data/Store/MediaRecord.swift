import Foundation
import Support

/// What the media files of a cached data set were when it was written, so that others in their places
/// are noticed.
struct MediaRecord: Sendable {
  /// A file as rows name it.
  private struct Entry {
    var path: String
    var size: Int
    /// Seconds since 1970; a file that kept it and its size is taken for the same.
    var changed: Double
    var sum: Int

    var json: JSONValue {
      .array([.string(path), JSONValue(size), JSONValue(changed), JSONValue(sum)])
    }

    init(path: String, size: Int, changed: Double, sum: Int) {
      (self.path, self.size, self.changed, self.sum) = (path, size, changed, sum)
    }

    init?(_ json: JSONValue) {
      guard let list = json.array, list.count == 4, let path = list[0].string,
        let size = list[1].int, let changed = list[2].double, let sum = list[3].int
      else { return nil }
      self.init(path: path, size: size, changed: changed, sum: sum)
    }
  }

  private var entries: [Entry] = []

  /// Records the files that rows read when they are used; those whose patches are stored need none.
  /// - Throws: `FILE-001`, `FILE-002`.
  init(of rows: [StoredRow], media: (any MediaLoading)?) throws(Fault) {
    guard let media else { return }
    var paths: Set<String> = []
    for row in rows {
      guard case .kept(let encoded, _, _) = row.outcome else { continue }
      for item in encoded.media where item.stored == nil { paths.formUnion(item.files) }
    }
    for path in paths.sorted() {
      let place = media.place(of: path)
      entries.append(
        Entry(
          path: path, size: Folder.fileSize(place) ?? 0, changed: Self.changed(place),
          sum: try Self.sum(place)))
    }
  }

  var json: JSONValue { .array(entries.map(\.json)) }

  /// - Throws: `DATA-501` for what `json` does not write.
  init(_ json: JSONValue?, store: String) throws(Fault) {
    for value in json?.array ?? [] {
      guard let entry = Entry(value) else {
        throw Fault(.badStore, "the list of media files cannot be read", at: .file(store))
      }
      entries.append(entry)
    }
  }

  /// - Throws: `DATA-502` naming the first file that is another one now, or gone.
  func check(_ media: (any MediaLoading)?, store: String) throws(Fault) {
    guard let media else { return }
    var different: [String] = []
    for entry in entries {
      let place = media.place(of: entry.path)
      guard Folder.fileSize(place) == entry.size else {
        different.append(entry.path)
        continue
      }
      if Self.changed(place) == entry.changed { continue }
      if try Self.sum(place) != entry.sum { different.append(entry.path) }
    }
    guard let first = different.first else { return }
    let what =
      Folder.kind(media.place(of: first)) == .nothing
      ? "is not there any more" : "changed since the rows were encoded"
    let others = different.count == 1 ? "" : ", and \(different.count - 1) other media files"
    throw Fault(
      .otherStore, "\(first) \(what)\(others)", at: .file(store),
      fix: "encode the data again, or run where its media lie")
  }

  private static func changed(_ path: String) -> Double {
    let facts = try? FileManager.default.attributesOfItem(atPath: path)
    return (facts?[.modificationDate] as? Date)?.timeIntervalSince1970 ?? -1
  }

  private static func sum(_ path: String) throws(Fault) -> Int {
    let file = try PosixFile(reading: path)
    let size = try file.size()
    var crc = CRC32C()
    var at = 0
    while at < size {
      let part = min(size - at, 1 << 20)
      let bytes = try file.read(part, at: at)
      bytes.withUnsafeBytes { crc.update($0) }
      at += part
    }
    return Int(crc.value)
  }
}

extension MediaItem {
  /// Paths that the patches are made from.
  var files: [String] {
    let names: [MediumName]
    switch recipe {
    case .picture(let name, _, _), .clip(let name, _, _): names = [name]
    case .list(let list, _, _): names = list
    }
    return names.compactMap { name in
      if case .file(let path) = name.source { return path }
      return nil
    }
  }
}
