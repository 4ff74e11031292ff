import Foundation
import Support

/// The clips of a data set that come as one archive: unpacked once, into a folder of this machine.
struct ClipArchive {
  /// The archive.
  let path: String
  /// Above the folders of all archives.
  let cache: String

  /// Clips are compressed already: an archive that grows more than this is a trap.
  private static let growth = 20
  private static let slack = 1 << 30

  /// The folder with the clips, each under the last part of its name in the archive. Several processes
  /// may ask for it: one unpacks, the others wait.
  /// - Throws: `DATA-101` for a damaged archive, `FILE-003`.
  func clips() throws(Fault) -> String {
    let folder = cache + "/" + name
    if Folder.kind(folder) == .folder { return folder }
    try Folder.make(cache)
    let lock = try FileLock(
      folder + ".lock",
      isStopped: { !SignalFlags.current.isDisjoint(with: [.stop, .stopNow]) })
    defer { withExtendedLifetime(lock) {} }
    if Folder.kind(folder) == .folder { return folder }
    let work = cache + "/.tmp_" + name
    try Folder.remove(work)
    try Folder.make(work)
    do throws(Fault) {
      try unpack(into: work)
      try Folder.rename(work, to: folder)
    } catch {
      try? Folder.remove(work)
      throw error
    }
    return folder
  }

  /// Of this state of the archive.
  private var name: String {
    let digest = Digest(.sha256)
    digest.update(text: FileState.text(Folder.resolved(path) ?? path))
    return String(digest.hexadecimal().prefix(32))
  }

  private func unpack(into folder: String) throws(Fault) {
    let archive = try ZipArchive(path)
    let clips = archive.entries.compactMap { entry in
      Self.clipName(entry.name).map { (entry, $0) }
    }
    guard !clips.isEmpty else { throw ZipArchive.damaged(path, "it holds no .mp4 file") }
    let size = clips.reduce(0) { $0.addingReportingOverflow($1.0.size).partialValue }
    let own = Folder.fileSize(path) ?? 0
    guard size >= 0, size <= Self.growth * own + Self.slack else {
      throw ZipArchive.damaged(path, "it unpacks to \(size) bytes")
    }
    var system = statvfs()
    if statvfs(folder, &system) == 0 {
      let free = Double(system.f_bavail) * Double(system.f_frsize)
      guard Double(size) < free else {
        throw Fault(
          .cannotWrite, "there is no room for the clips of \(path)", at: .file(folder),
          expected: "\(size) bytes", fix: "name another folder with XDG_CACHE_HOME")
      }
    }
    var taken: Set<String> = []
    for (entry, name) in clips {
      guard taken.insert(name).inserted else {
        throw ZipArchive.damaged(path, "it holds \(name) twice")
      }
      try archive.extract(entry, to: folder + "/" + name)
    }
  }

  /// The last part of a name; nil for what is no clip. What leads to it does not matter, so that no
  /// name leads anywhere else.
  static func clipName(_ name: String) -> String? {
    guard let last = name.split(whereSeparator: { $0 == "/" || $0 == "\\" }).last,
      last.hasSuffix(".mp4"), !last.hasPrefix("."), last.utf8.count <= 255,
      !name.split(separator: "/").contains("__MACOSX"), !last.utf8.contains(where: { $0 < 0x20 })
    else { return nil }
    return String(last)
  }
}
