import Foundation
import Support

/// What a registered data set does to its rows before the common rules.
public enum RowPreset: Sendable, Equatable {
  /// Nothing.
  case none
  /// Takes a leading "输入：" from the alpaca input.
  case chineseAlpaca
  /// Fixed question; the column `text` is the answer, `image` the picture.
  case latexOCR
  /// Clips of an unpacked folder; the first question that is given.
  case videoChat(clips: String)

  static let latexQuery = "Using LaTeX to perform OCR on the image."
  private static let chineseMark = "输入："

  /// - Returns: nil when the row is passed over: its clip is not in the folder.
  func apply(_ row: JSONObject, at source: StandardRow.Source) throws(Fault) -> JSONObject? {
    var row = row
    switch self {
    case .none: break
    case .chineseAlpaca:
      if let input = row["input"]?.string, input.hasPrefix(Self.chineseMark) {
        row["input"] = .string(String(input.dropFirst(Self.chineseMark.count)))
      }
    case .latexOCR: row["query"] = .string(Self.latexQuery)
    case .videoChat(let clips):
      guard let name = row["video_name"]?.string else {
        throw Fault(
          .badRow, "video_name is missing", at: .file(source.file, line: source.line))
      }
      let path = "\(clips)/\(name).mp4"
      // A name is no path.
      guard !name.contains("/"), FileManager.default.fileExists(atPath: path) else { return nil }
      row["videos"] = .array([.string(path)])
      let questions = ["query", "question_1", "question_2"].compactMap { row[$0]?.string }
      guard let question = questions.first(where: { !$0.isEmpty && $0 != "None" }) else {
        return nil
      }
      row["query"] = .string(question)
    }
    return row
  }
}
