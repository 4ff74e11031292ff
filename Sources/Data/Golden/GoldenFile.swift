import Foundation
import Support

/// Reads a golden file.
/// - Throws: `FILE-001` if it is missing, `DATA-101` if it is no JSON.
func goldenValue(_ path: String) throws(Fault) -> JSONValue {
  guard let data = FileManager.default.contents(atPath: path) else {
    throw Fault(.missingFile, "the golden file does not exist", at: .file(path))
  }
  return try parseJSON([UInt8](data), path: path, firstLine: 1)
}

extension JSONValue {
  /// Whole numbers of a list; nil if it is none.
  var ints: [Int]? {
    guard let list = array else { return nil }
    let numbers = list.compactMap(\.int)
    return numbers.count == list.count ? numbers : nil
  }

  /// Lists of whole numbers.
  var intLists: [[Int]]? {
    guard let list = array else { return nil }
    let lists = list.compactMap(\.ints)
    return lists.count == list.count ? lists : nil
  }
}

extension GoldenReport {
  /// Counts a case, and a failure unless both are equal.
  mutating func compare<T: Equatable>(_ name: String, _ found: T, _ wanted: T?) {
    cases += 1
    guard found != wanted else { return }
    let expected = wanted.map { String("\($0)".prefix(160)) } ?? "nothing readable"
    failures.append("\(name): expected \(expected), found \("\(found)".prefix(160))")
  }

  /// Counts a case that ended with an error instead of a result.
  mutating func fail(_ name: String, _ fault: Fault) {
    cases += 1
    failures.append("\(name): \(fault.message)")
  }
}
