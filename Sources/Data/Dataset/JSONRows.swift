import Support

/// One JSON object per line; empty lines are passed over.
final class JSONLinesReader: RawRowReader {
  private let lines: LineReader
  private var pending: LineReader.Line?

  /// - Parameter first: a line that was read already.
  init(_ lines: LineReader, first: LineReader.Line? = nil) {
    self.lines = lines
    pending = first
  }

  func next() throws(Fault) -> RawRow? {
    while let line = try takeLine() {
      if line.isBlank { continue }
      let value = try parseJSON(line.bytes, path: lines.path, firstLine: line.number)
      guard case .object(let columns) = value else {
        throw Fault(
          .badDataFile, "line \(line.number): expected a JSON object, found \(value.kind)",
          at: .file(lines.path, line: line.number),
          fix: "write each row as {\"column\": value, ...} on a line of its own")
      }
      return RawRow(
        columns: columns, source: .init(file: lines.path, line: line.number), mark: line.mark)
    }
    return nil
  }

  var mark: FileMark { pending?.mark ?? lines.mark }

  func move(to mark: FileMark) throws(Fault) {
    pending = nil
    try lines.move(to: mark)
  }

  private func takeLine() throws(Fault) -> LineReader.Line? {
    if let line = pending {
      pending = nil
      return line
    }
    return try lines.next()
  }
}

/// The objects of one JSON list; a row's line is its place in the list, from 1.
final class JSONListReader: RawRowReader {
  private let path: String
  private let items: [JSONValue]
  private var at = 0

  init(path: String, items: [JSONValue]) {
    self.path = path
    self.items = items
  }

  func next() throws(Fault) -> RawRow? {
    guard at < items.count else { return nil }
    at += 1
    guard case .object(let columns) = items[at - 1] else {
      throw Fault(
        .badDataFile, "item \(at): expected a JSON object, found \(items[at - 1].kind)",
        at: .file(path, line: at), fix: "write each row as {\"column\": value, ...}")
    }
    return RawRow(
      columns: columns, source: .init(file: path, line: at),
      mark: FileMark(offset: at - 1, line: at))
  }

  var mark: FileMark { FileMark(offset: at, line: at + 1) }
  func move(to mark: FileMark) { at = mark.offset }
}

/// A `.json` file: a list of objects, or objects line by line.
func openJSON(_ path: String) throws(Fault) -> any RawRowReader {
  let lines = try LineReader(path: path)
  var blank = 0
  while let line = try lines.next() {
    if line.isBlank {
      blank += 1
      continue
    }
    guard line.bytes.first(where: { !LineReader.isSpace($0) }) == UInt8(ascii: "[") else {
      return JSONLinesReader(lines, first: line)
    }
    var bytes = line.bytes
    while let more = try lines.next() { bytes += [0x0A] + more.bytes }
    let value = try parseJSON(bytes, path: path, firstLine: blank + 1)
    return JSONListReader(path: path, items: value.array ?? [])
  }
  return JSONListReader(path: path, items: [])
}

/// Parses one JSON value of a file.
/// - Parameter firstLine: line of the file on which `bytes` begin.
/// - Throws: `DATA-101` with line, column and reason.
func parseJSON(_ bytes: [UInt8], path: String, firstLine: Int) throws(Fault) -> JSONValue {
  let result = bytes.withUnsafeBytes { raw -> Result<JSONValue, JSONSyntaxError> in
    do throws(JSONSyntaxError) { return .success(try JSONValue.parse(raw)) } catch {
      return .failure(error)
    }
  }
  switch result {
  case .success(let value): return value
  case .failure(let error):
    let line = firstLine + error.line - 1
    throw Fault(
      .badDataFile, "line \(line): not valid JSON (\(error.reason))",
      at: .file(path, line: line, column: error.column),
      fix: "mend the line; a row must be one whole JSON object")
  }
}

extension LineReader {
  static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
}

extension LineReader.Line {
  var isBlank: Bool { bytes.allSatisfy(LineReader.isSpace) }
}
