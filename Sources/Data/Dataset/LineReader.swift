import Foundation
import Support

/// Reads a text file line by line in bounded memory, checking that it is UTF-8.
final class LineReader {
  /// One line without its line break.
  struct Line {
    var bytes: [UInt8]
    /// Where it begins.
    var mark: FileMark
    var number: Int { mark.line }
  }

  /// A longer line is refused; nothing a trainer can use is that long.
  private static let longestLine = 1 << 30
  private static let chunk = 1 << 16

  let path: String
  private let file: UnsafeMutablePointer<FILE>
  private var buffer = [UInt8](repeating: 0, count: LineReader.chunk)
  private var filled = 0
  private var at = 0
  private var number = 0
  private var ended = false
  /// Bytes of the file before the buffer.
  private var passed = 0

  /// - Throws: `FILE-001`, `FILE-002` if the file is not there or cannot be opened.
  init(path: String) throws(Fault) {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
      throw Fault(.missingFile, "the file does not exist", at: .file(path))
    }
    guard !isFolder.boolValue, let file = fopen(path, "rb") else {
      throw Fault(
        .unreadableFile, isFolder.boolValue ? "a folder, not a file" : "the file cannot be opened",
        at: .file(path))
    }
    self.path = path
    self.file = file
  }

  deinit { fclose(file) }

  /// Where the next line begins.
  var mark: FileMark { FileMark(offset: passed + at, line: number + 1) }

  /// Goes to a line.
  /// - Throws: `FILE-002` where the file does not reach so far.
  func move(to mark: FileMark) throws(Fault) {
    guard fseek(file, mark.offset, SEEK_SET) == 0 else {
      throw Fault(
        .unreadableFile, "the file cannot be read from byte \(mark.offset) on", at: .file(path))
    }
    (passed, filled, at, ended) = (mark.offset, 0, 0, false)
    number = mark.line - 1
  }

  /// The next line, or nil at the end of the file. A last line needs no line break.
  /// - Throws: `DATA-101` for UTF-16, for bytes that are not UTF-8 and for endless lines.
  func next() throws(Fault) -> Line? {
    var line: [UInt8] = []
    var found = false
    let mark = mark
    while !found {
      if at == filled {
        try refill()
        if filled == 0 { break }
      }
      if let end = buffer[at..<filled].firstIndex(of: 0x0A) {
        line += buffer[at..<end]
        at = end + 1
        found = true
      } else {
        line += buffer[at..<filled]
        at = filled
      }
      guard line.count <= Self.longestLine else {
        throw Fault(
          .badDataFile, "line \(number + 1): over \(Self.longestLine) bytes long",
          at: .file(path, line: number + 1))
      }
    }
    guard found || !line.isEmpty else { return nil }
    number += 1
    if number == 1 { try dropMark(&line) }
    if line.last == 0x0D { line.removeLast() }
    try checkUTF8(line)
    return Line(bytes: line, mark: mark)
  }

  private func refill() throws(Fault) {
    passed += filled
    at = 0
    filled = 0
    guard !ended else { return }
    filled = fread(&buffer, 1, Self.chunk, file)
    if filled < Self.chunk {
      ended = true
      guard ferror(file) == 0 else {
        throw Fault(
          .unreadableFile,
          "reading stopped after line \(number): \(String(cString: strerror(errno)))",
          at: .file(path))
      }
    }
  }

  /// Takes the byte-order mark of UTF-8 away and names the one of UTF-16.
  private func dropMark(_ line: inout [UInt8]) throws(Fault) {
    if line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
    if line.starts(with: [0xFF, 0xFE]) || line.starts(with: [0xFE, 0xFF]) {
      throw Fault(
        .badDataFile, "the file is UTF-16", at: .file(path, line: 1),
        fix: "save it as UTF-8")
    }
  }

  private func checkUTF8(_ line: [UInt8]) throws(Fault) {
    guard String(validating: line, as: UTF8.self) == nil else { return }
    let place = firstBadByte(line) + 1
    throw Fault(
      .badDataFile, "line \(number): not UTF-8 at byte \(place)",
      at: .file(path, line: number, column: place), fix: "save the file as UTF-8")
  }

  /// Index of the first byte that begins no UTF-8 character.
  private func firstBadByte(_ bytes: [UInt8]) -> Int {
    var at = 0
    while at < bytes.count {
      let length: Int
      switch bytes[at] {
      case 0..<0x80: length = 1
      case 0xC2..<0xE0: length = 2
      case 0xE0..<0xF0: length = 3
      case 0xF0..<0xF5: length = 4
      default: return at
      }
      let end = min(at + length, bytes.count)
      if String(validating: bytes[at..<end], as: UTF8.self) == nil { return at }
      at = end
    }
    return at
  }
}
