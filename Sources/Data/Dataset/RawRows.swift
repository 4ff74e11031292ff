import Support

/// A place in a data file from which a row can be read.
struct FileMark: Sendable, Equatable {
  /// Byte, or place in the list of a `.json` file, from 0.
  var offset = 0
  /// As in messages, from 1.
  var line = 1
}

/// A row as it stands in the file.
struct RawRow: Sendable {
  var columns: JSONObject
  var source: StandardRow.Source
  var mark = FileMark()
}

/// Reads the rows of one file in order.
protocol RawRowReader: AnyObject {
  /// The next row, nil at the end.
  /// - Throws: `DATA-101` if the file cannot be parsed.
  func next() throws(Fault) -> RawRow?
  /// Where the next row begins.
  var mark: FileMark { get }
  /// Goes to a place that was a mark of this file.
  /// - Throws: `FILE-002`.
  func move(to mark: FileMark) throws(Fault)
}

/// The kinds of data files, by their ending.
enum DataFileKind: String, CaseIterable {
  case jsonl, json, csv, txt, parquet

  static func of(_ path: String) -> DataFileKind? {
    DataFileKind(rawValue: path.split(separator: ".").last.map { $0.lowercased() } ?? "")
  }
}

/// Opens a data file.
/// - Throws: `DATA-101` for an ending that is not known.
func openRows(_ path: String) throws(Fault) -> any RawRowReader {
  switch DataFileKind.of(path) {
  case .jsonl: return JSONLinesReader(try LineReader(path: path))
  case .json: return try openJSON(path)
  case .csv: return try CSVReader(try LineReader(path: path))
  case .txt: return TextReader(try LineReader(path: path))
  case .parquet: return try ParquetReader(path: path)
  case nil:
    throw Fault(
      .badDataFile, "the kind of the file is not known", at: .file(path),
      expected: "a name that ends in .jsonl, .json, .csv, .txt or .parquet", fix: "rename the file")
  }
}

/// One row per line, the line in the column `text`.
final class TextReader: RawRowReader {
  private let lines: LineReader
  init(_ lines: LineReader) { self.lines = lines }

  func next() throws(Fault) -> RawRow? {
    guard let line = try lines.next() else { return nil }
    let text = JSONValue.string(String(decoding: line.bytes, as: UTF8.self))
    return RawRow(
      columns: JSONObject([("text", text)]), source: .init(file: lines.path, line: line.number),
      mark: line.mark)
  }

  var mark: FileMark { lines.mark }
  func move(to mark: FileMark) throws(Fault) { try lines.move(to: mark) }
}
