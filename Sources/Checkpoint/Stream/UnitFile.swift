import Support
import Tensor

/// A file as a list of units that follow each other without gaps: archives of a `.distcp` file, or
/// the header and the tensors of a safetensors file.
///
/// It is written unit after unit in bounded memory; a write that was stopped goes on after the last
/// unit its journal knows.
public struct UnitFile {
  /// Bytes that belong together.
  public struct Unit {
    /// Key of the tensor or object; empty for a header.
    public let key: String
    /// Bytes of payload, for progress.
    public let byteCount: Int
    let body: (_ file: BlockFile, _ offset: Int) throws(Fault) -> WrittenUnit

    /// Plain bytes.
    static func raw(_ key: String, byteCount: Int, _ stream: @escaping ByteStream) -> Unit {
      Unit(key: key, byteCount: byteCount) { (file, offset) throws(Fault) in
        var crc = CRC32C()
        try stream { (bytes) throws(Fault) in
          guard bytes.count <= byteCount - crc.count else {
            throw Fault(.badWriteOrder, "it gets more bytes than announced", at: .tensor(key))
          }
          try CacheParts.forEach(bytes) { (part) throws(Fault) in
            try file.write(part, at: offset + crc.count)
            crc.update(part)
          }
        }
        guard crc.count == byteCount else {
          throw Fault(
            .badWriteOrder, "it gets fewer bytes than announced", at: .tensor(key),
            expected: "\(byteCount)", found: "\(crc.count)")
        }
        return WrittenUnit(length: byteCount, crc32c: crc.value)
      }
    }
  }

  public let name: String
  public let units: [Unit]
  public var byteCount: Int { units.reduce(0) { $0 + $1.byteCount } }

  /// Writes the file, or what is missing of it, and flushes it.
  /// - Parameters:
  ///   - purpose: names source and settings; the rest of a write for another purpose is not used.
  ///   - interval: bytes after which what is written is made durable and noted in the journal.
  ///   - progress: told the bytes of payload of each finished unit, and first of all that were found
  ///     finished; it may throw to stop, and the next call goes on there.
  /// - Returns: the units in their order.
  /// - Throws: `CKPT-104`, `FILE-003`, what the units and `progress` throw.
  public func write(
    to folder: String, purpose: String, interval: Int = 256 << 20,
    progress: (_ bytes: Int, _ isNew: Bool) throws(Fault) -> Void = { (_, _) throws(Fault) in }
  ) throws(Fault) -> [WrittenUnit] {
    let path = folder + "/" + name
    let journal = UnitJournal(path: path + UnitJournal.suffix, purpose: purpose)
    var done = try journal.read()
    var position = done.reduce(0) { $0 + $1.length }
    if done.count > units.count || (Folder.fileSize(path) ?? -1) < position { done = [] }
    let file: BlockFile
    if done.isEmpty {
      position = 0
      try Folder.remove(path)
      file = try BlockFile(creating: path, copy: PassingCopy.run)
    } else {
      file = try BlockFile(resuming: path, size: position, copy: PassingCopy.run)
      try progress(units[..<done.count].reduce(0) { $0 + $1.byteCount }, false)
    }
    try journal.begin(done)
    var noted = done.count
    var notedBytes = position
    func note() throws(Fault) {
      guard noted < done.count else { return }
      try file.settle()
      try journal.append(done[noted...])
      (noted, notedBytes) = (done.count, position)
    }
    for unit in units[done.count...] {
      let written = try unit.body(file, position)
      done.append(written)
      position += written.length
      if position - notedBytes >= interval { try note() }
      do {
        try progress(unit.byteCount, true)
      } catch {
        // What is finished stays; what stopped us is what the caller has to know.
        try? note()
        throw error
      }
    }
    try note()
    return done
  }
}

/// Length and checksum of a unit as it lies in its file.
public struct WrittenUnit: Sendable, Equatable {
  public let length: Int
  public let crc32c: UInt32

  public init(length: Int, crc32c: UInt32) {
    self.length = length
    self.crc32c = crc32c
  }
}
