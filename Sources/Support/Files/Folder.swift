#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What lies at a path.
public enum PathKind: Sendable, Equatable { case nothing, file, folder, link, other }

/// Folder operations with `Fault` errors; names are plain strings, separators are `/`.
public enum Folder {
  /// What lies at `path`; with `follow` a symbolic link counts as what it points to.
  public static func kind(_ path: String, follow: Bool = true) -> PathKind {
    var info = stat()
    guard (follow ? stat(path, &info) : lstat(path, &info)) == 0 else { return .nothing }
    switch info.st_mode & S_IFMT {
    case S_IFREG: return .file
    case S_IFDIR: return .folder
    case S_IFLNK: return .link
    default: return .other
    }
  }

  /// The size of a plain file in bytes, or nil when there is none.
  public static func fileSize(_ path: String) -> Int? {
    var info = stat()
    guard stat(path, &info) == 0, info.st_mode & S_IFMT == S_IFREG else { return nil }
    return Int(info.st_size)
  }

  /// The time of the last change in seconds, or nil when nothing is there.
  public static func changed(_ path: String) -> Int? {
    var info = stat()
    guard stat(path, &info) == 0 else { return nil }
    #if canImport(Darwin)
      return info.st_mtimespec.tv_sec
    #else
      return info.st_mtim.tv_sec
    #endif
  }

  /// The names in a folder, sorted, without `.` and `..`.
  /// - Throws: `FILE-001` or `FILE-002`.
  public static func names(_ path: String) throws(Fault) -> [String] {
    guard let handle = opendir(path) else { throw PosixFile.openFault(path, errno) }
    defer { closedir(handle) }
    var names: [String] = []
    while let entry = readdir(handle) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Makes a folder and its missing parents; one that exists is fine.
  public static func make(_ path: String) throws(Fault) {
    var part = path.hasPrefix("/") ? "/" : ""
    for name in path.split(separator: "/") {
      part += (part.isEmpty || part.hasSuffix("/") ? "" : "/") + name
      if mkdir(part, 0o777) != 0, errno != EEXIST || kind(part) != .folder {
        let code = errno
        if kind(part) == .folder { continue }
        throw Fault(
          .cannotWrite, "cannot make the folder: \(systemMessage(code))", at: .file(part))
      }
    }
  }

  /// Renames within one file system, replacing a file of that name.
  public static func rename(_ old: String, to new: String) throws(Fault) {
    #if canImport(Glibc)
      let status = Glibc.rename(old, new)
    #elseif canImport(Musl)
      let status = Musl.rename(old, new)
    #else
      let status = Darwin.rename(old, new)
    #endif
    guard status == 0 else {
      throw Fault(.cannotWrite, "cannot rename to \(new): \(systemMessage(errno))", at: .file(old))
    }
  }

  /// Forces the list of names in a folder to the device.
  public static func sync(_ path: String) throws(Fault) {
    let descriptor = open(path.isEmpty ? "." : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw PosixFile.openFault(path, errno) }
    defer { close(descriptor) }
    // Some network file systems cannot flush a folder and say EINVAL: their rename is durable.
    guard fsync(descriptor) == 0 || errno == EINVAL else {
      throw Fault(
        .cannotWrite, "cannot flush the folder: \(systemMessage(errno))", at: .file(path))
    }
  }

  /// Deletes a file, a link (not its target), or a folder with all in it; nothing there is fine.
  public static func remove(_ path: String) throws(Fault) {
    switch kind(path, follow: false) {
    case .nothing: return
    case .folder:
      for name in try names(path) { try remove(path + "/" + name) }
      if rmdir(path) != 0, errno != ENOENT {
        throw Fault(
          .cannotWrite, "cannot remove the folder: \(systemMessage(errno))", at: .file(path))
      }
    default:
      if unlink(path) != 0, errno != ENOENT {
        throw Fault(.cannotWrite, "cannot remove: \(systemMessage(errno))", at: .file(path))
      }
    }
  }

  /// The absolute path without links, or nil when nothing is there.
  public static func resolved(_ path: String) -> String? {
    guard let text = realpath(path, nil) else { return nil }
    defer { free(text) }
    return String(cString: text)
  }

  /// The folder part of a path: `a/b` → `a`, `b` → `.`.
  public static func parent(_ path: String) -> String {
    let trimmed = trim(path)
    guard let slash = trimmed.lastIndex(of: "/") else { return "." }
    return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
  }

  /// The last part of a path.
  public static func name(_ path: String) -> String {
    let trimmed = trim(path)
    guard let slash = trimmed.lastIndex(of: "/") else { return trimmed }
    return String(trimmed[trimmed.index(after: slash)...])
  }

  private static func trim(_ path: String) -> String {
    var path = path
    while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
    return path
  }
}
