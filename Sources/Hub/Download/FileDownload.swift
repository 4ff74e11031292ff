import Foundation
import Support

/// Fetches one file: goes on where an earlier attempt ended, and gives it its name when its content
/// is what the hub announced.
struct FileDownload {
  let client: HTTPClient
  let file: RemoteFile
  let request: HTTPRequest
  /// Where the unfinished content lies; kept for the next attempt, also of another process.
  let partial: String

  /// Attempts of a whole file whose content turns out wrong.
  private static let trials = 3

  /// - Parameter finished: the path that the content gets.
  /// - Throws: `HUB-101` to `HUB-104`, `FILE-003`, `RUN-104`.
  func run(to finished: String) throws(Fault) {
    for trial in 1...Self.trials {
      try transfer()
      guard let found = try mistake() else {
        try flush()
        return try Folder.rename(partial, to: finished)
      }
      try Folder.remove(partial)
      guard trial < Self.trials else {
        throw Fault(
          .badTransfer,
          "\(file.path) arrives with another content than \(client.service.title) lists",
          expected: file.sha256 ?? file.gitDigest ?? "\(file.size) bytes", found: found,
          fix: "start again; if it stays so, the hub or a proxy on the way is at fault")
      }
    }
  }

  private func transfer() throws(Fault) {
    var before = -1
    try client.repeating(
      file.path,
      gotOn: {
        let size = Folder.fileSize(partial) ?? 0
        defer { before = size }
        return before >= 0 && size > before
      }
    ) { () throws(HTTPFailure) in try attempt() }
  }

  /// One request for what is missing.
  private func attempt() throws(HTTPFailure) {
    let descriptor = open(partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard descriptor >= 0 else {
      throw HTTPFailure(cause: .noDisk, words: systemMessage(errno))
    }
    defer { close(descriptor) }
    var start = Int(lseek(descriptor, 0, SEEK_END))
    if start > file.size {
      ftruncate(descriptor, 0)
      start = 0
    }
    if start == file.size, file.size > 0 { return }
    var request = request
    if start > 0 { request.headers.append(("Range", "bytes=\(start)-")) }
    do throws(HTTPFailure) {
      _ = try client.once(
        request, into: HTTPClient.Target(file: descriptor, start: start, limit: file.size))
    } catch {
      // What is there does not fit the file any more.
      if error.cause == .status(416) || error.cause == .tooLarge {
        ftruncate(descriptor, 0)
        guard start > 0 else { throw error }
        throw HTTPFailure(cause: .cut, words: error.words)
      }
      throw error
    }
    guard lseek(descriptor, 0, SEEK_END) == file.size else {
      throw HTTPFailure(cause: .cut, words: "the file ended early")
    }
  }

  /// - Returns: what is wrong with the content, nil for nothing.
  private func mistake() throws(Fault) -> String? {
    let opened = try PosixFile(reading: partial)
    let size = try opened.size()
    guard size == file.size else { return "\(size) bytes" }
    let digest: Digest
    if file.sha256 != nil {
      digest = Digest(.sha256)
    } else if file.gitDigest != nil {
      digest = Digest(.sha1)
      digest.update(Array("blob \(size)\0".utf8))
    } else {
      return nil
    }
    try digest.update(file: opened, count: size)
    let found = digest.hexadecimal()
    return found == (file.sha256 ?? file.gitDigest) ? nil : found
  }

  private func flush() throws(Fault) {
    let descriptor = open(partial, O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else {
      throw Fault(.cannotWrite, "cannot flush: \(systemMessage(errno))", at: .file(partial))
    }
  }
}
