import Foundation
import Support

/// Where a picture or clip comes from, as a row says it.
enum MediaSource: Sendable, Hashable {
  /// A path as written, relative to the working folder.
  case file(String)
  /// http or https.
  case address(String)
  /// The bytes themselves: base64 text of the row.
  case inline(String)

  /// Shortest text without a file of its name that is taken for base64.
  private static let shortestBase64 = 200

  /// Reads a member of `images`, `videos` or of a list of frames: a string, or
  /// `{"path": ..., "bytes": ...}` whose bytes win.
  init?(_ value: JSONValue) {
    if let bytes = value["bytes"]?.string, !bytes.isEmpty {
      self = .inline(bytes)
    } else if let text = value.string ?? value["path"]?.string {
      self.init(text: text)
    } else {
      return nil
    }
  }

  init(text: String) {
    let head = text.prefix(8).lowercased()
    if head.hasPrefix("http://") || head.hasPrefix("https://") {
      self = .address(text)
    } else if head.hasPrefix("file://") {
      let path = String(text.dropFirst(7))
      self = .file(path.removingPercentEncoding ?? path)
    } else if head.hasPrefix("data:"), let comma = text.firstIndex(of: ",") {
      self = .inline(String(text[text.index(after: comma)...]))
    } else if text.utf8.count > Self.shortestBase64, access(text, F_OK) != 0 {
      self = .inline(text)
    } else {
      self = .file(text)
    }
  }

  /// For messages and for the list of a sample's media.
  var name: String {
    switch self {
    case .file(let path): return path
    case .address(let text): return text.count > 200 ? text.prefix(200) + "…" : text
    case .inline(let text): return "inline data of \(text.utf8.count) characters"
    }
  }
}

/// Finds and reads the bytes of media.
struct MediaReader: Sendable {
  let settings: MediaSettings
  private let downloads = Downloads()

  init(settings: MediaSettings) { self.settings = settings }

  /// The path that exists: as given, or below `ROOT_IMAGE_DIR`.
  /// - Parameter usesRoot: false for frames of a list, which are never looked for there.
  /// - Throws: `DATA-401` naming both places.
  func path(_ path: String, _ name: MediumName, usesRoot: Bool = true) throws(Fault) -> String {
    let isWhole = path.hasPrefix("/")
    let base = settings.baseFolder ?? FileManager.default.currentDirectoryPath
    let first = isWhole || settings.baseFolder == nil ? path : base + "/" + path
    if Folder.kind(first) == .file { return first }
    var places = isWhole ? [] : [base]
    if usesRoot, !isWhole, let root = settings.rootFolder {
      let other = root + "/" + path
      if Folder.kind(other) == .file { return other }
      places.append("ROOT_IMAGE_DIR \(root)")
    }
    if Folder.kind(first) != .nothing {
      throw name.bad("is not a plain file", fix: "name a file", code: .mediaNotFound)
    }
    let looked = places.isEmpty ? "" : " (looked in \(places.joined(separator: ", ")))"
    throw name.bad(
      "does not exist\(looked)", fix: "check the path, or set ROOT_IMAGE_DIR",
      code: .mediaNotFound)
  }

  /// All bytes of a medium.
  /// - Parameter limit: most bytes; checked before anything is read.
  /// - Throws: `DATA-401`, `DATA-402` for an empty file or text that is no base64, `DATA-403` over
  ///   the limit, `DATA-405` for downloads.
  func bytes(
    _ name: MediumName, limit: Int, usesRoot: Bool = true
  ) throws(Fault) -> [UInt8] {
    let bytes: [UInt8]
    switch name.source {
    case .file(let path):
      bytes = try fileBytes(try self.path(path, name, usesRoot: usesRoot), name, limit: limit)
    case .inline(let text):
      guard text.utf8.count / 4 * 3 <= limit else { throw tooLarge(name, limit) }
      guard let data = Data(base64Encoded: text, options: .ignoreUnknownCharacters) else {
        throw name.bad("not valid base64", fix: "write data:image/png;base64,…")
      }
      bytes = [UInt8](data)
    case .address(let text):
      bytes = try downloads.bytes(text, timeout: settings.timeout, limit: limit, name)
    }
    guard !bytes.isEmpty else { throw name.bad("the file is empty", fix: "copy the file again") }
    return bytes
  }

  private func fileBytes(
    _ path: String, _ name: MediumName, limit: Int
  ) throws(Fault) -> [UInt8] {
    do throws(Fault) {
      let file = try PosixFile(reading: path)
      let size = try file.size()
      guard size <= limit else { throw tooLarge(name, limit) }
      return try file.read(size, at: 0)
    } catch {
      if error.code == .mediaTooLarge { throw error }
      throw name.bad("cannot be read: \(error.message)", code: .mediaNotFound)
    }
  }

  private func tooLarge(_ name: MediumName, _ limit: Int) -> Fault {
    name.bad("has more than \(limit >> 20) MiB", fix: "make it smaller", code: .mediaTooLarge)
  }
}
