import Support

/// Comma-separated rows under a line of column names (RFC 4180). Every value is text: the word `NA`
/// and numbers stay as they are written; a field that is missing at the end of a row is null.
final class CSVReader: RawRowReader {
  private let lines: LineReader
  private var names: [String] = []

  /// - Throws: `DATA-101` if two columns have one name.
  init(_ lines: LineReader) throws(Fault) {
    self.lines = lines
    guard let header = try record() else { return }
    names = header.fields
    if let twice = names.first(where: { name in names.filter { $0 == name }.count > 1 }) {
      throw Fault(
        .badDataFile, "two columns are called \"\(twice)\"",
        at: .file(lines.path, line: header.line), fix: "give each column a name of its own")
    }
  }

  func next() throws(Fault) -> RawRow? {
    guard let record = try record() else { return nil }
    guard record.fields.count <= names.count else {
      throw Fault(
        .badDataFile,
        "line \(record.line): \(record.fields.count) fields under "
          + "\(names.count) column names", at: .file(lines.path, line: record.line),
        fix: "put quotes round fields that hold commas")
    }
    var columns = JSONObject()
    for (i, name) in names.enumerated() {
      columns[name] = i < record.fields.count ? .string(record.fields[i]) : .null
    }
    return RawRow(
      columns: columns, source: .init(file: lines.path, line: record.line), mark: record.mark)
  }

  var mark: FileMark { lines.mark }
  func move(to mark: FileMark) throws(Fault) { try lines.move(to: mark) }

  private struct Record {
    var fields: [String]
    /// Where it begins.
    var mark: FileMark
    var line: Int { mark.line }
  }

  private func record() throws(Fault) -> Record? {
    var start: LineReader.Line?
    while let line = try lines.next() {
      if !line.isBlank {
        start = line
        break
      }
    }
    guard let first = start else { return nil }
    var splitter = CSVSplitter()
    splitter.take(first.bytes)
    while splitter.inQuotes {
      guard let more = try lines.next() else {
        throw Fault(
          .badDataFile, "line \(first.number): a quoted field is not closed",
          at: .file(lines.path, line: first.number), fix: "close the quotes")
      }
      splitter.take([0x0A] + more.bytes)
    }
    return Record(fields: splitter.finish(), mark: first.mark)
  }
}

/// Splits the text of a record into fields.
private struct CSVSplitter {
  private(set) var inQuotes = false
  private var fields: [String] = []
  private var field: [UInt8] = []
  /// A quote was seen inside quotes; the next byte says whether it is text or the end.
  private var quoteSeen = false

  mutating func take(_ bytes: [UInt8]) {
    for byte in bytes { take(byte) }
    if quoteSeen { closeQuotes() }
  }

  private mutating func closeQuotes() {
    quoteSeen = false
    inQuotes = false
  }

  private mutating func take(_ byte: UInt8) {
    let quote = UInt8(ascii: "\"")
    if quoteSeen {
      if byte == quote {
        quoteSeen = false
        field.append(quote)
        return
      }
      closeQuotes()
    }
    switch byte {
    case quote where inQuotes: quoteSeen = true
    case quote where field.isEmpty: inQuotes = true
    case UInt8(ascii: ",") where !inQuotes: endField()
    default: field.append(byte)
    }
  }

  private mutating func endField() {
    fields.append(String(decoding: field, as: UTF8.self))
    field = []
  }

  mutating func finish() -> [String] {
    endField()
    return fields
  }
}
