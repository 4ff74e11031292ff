import Support

/// File names that come from inside a checkpoint may not lead out of its folder.
enum PlainName {
  /// - Throws: `CKPT-133` unless `name` is a plain file name.
  static func check(_ name: String, in path: String) throws(Fault) {
    let bad =
      name.isEmpty || name == "." || name.contains("..") || name.utf8.count > 255
      || name.utf8.contains { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") || $0 == 0 }
    guard !bad else {
      throw Fault(
        .unsafePath, "the file name \"\(name.prefix(80))\" is refused", at: .file(path),
        expected: "a plain name without folders", fix: "do not use this checkpoint")
    }
  }

  /// - Throws: `CKPT-133` when a link takes the file out of `folder`, `FILE-001` when there is none.
  static func checkInside(_ folder: String, _ name: String) throws(Fault) {
    let path = folder + "/" + name
    guard let real = Folder.resolved(path), let home = Folder.resolved(folder) else {
      throw Fault(
        .missingFile, "a file that the checkpoint names is missing", at: .file(path),
        fix: "copy the checkpoint again")
    }
    guard Folder.parent(real) == home else {
      throw Fault(
        .unsafePath, "the file is a link that leaves the checkpoint", at: .file(path),
        found: real, fix: "put the file itself into the folder")
    }
  }
}
