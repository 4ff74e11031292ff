import Foundation
import Support

/// How rows become token ids.
public struct TemplateOptions: Sendable {
  public var template: TemplateName
  /// False for plain text: question and answer follow each other without marks
  /// (`--use_chat_template`).
  public var usesChatTemplate = true
  /// System text of rows that have none (`--system`; see `systemText`).
  public var system: String?
  public var lossScale = LossScale.standard
  /// Most tokens of a row; nil for no limit, as where the loader holds rows to their length.
  public var maxLength: Int?
  /// A row over `maxLength` is cut, or fails with DATA-110 and is left out by who asked for it.
  public var truncation = TruncationStrategy.delete
  /// What a prompt ends with, in place of the template's own (`--response_prefix`).
  public var responsePrefix: String?
  /// Rows are padded to a multiple of this before their length is checked (twice the
  /// context-parallel size; 1 for none).
  public var lengthMultiple = 1
  /// Rows of the model's embedding; nil for the ids that the tokenizer has.
  public var vocabularySize: Int?
  /// Puts pictures and clips in place of their tags.
  public var media: any MediaExpansion = TagsAsText()

  public init(template: TemplateName) { self.template = template }

  /// The text that `--system` stands for: the contents of a `.txt` file if there is one of that
  /// name, else the word itself with `\n` as line breaks.
  /// - Throws: FILE-002.
  public static func systemText(_ word: String) throws(Fault) -> String {
    guard word.hasSuffix(".txt"), FileManager.default.fileExists(atPath: word) else {
      return word.replacingOccurrences(of: "\\n", with: "\n")
    }
    do {
      return try String(contentsOfFile: word, encoding: .utf8)
    } catch {
      throw Fault(
        .unreadableFile, "the system text cannot be read", at: .file(word),
        expected: "a UTF-8 text file", fix: "save it as UTF-8, or give the text itself",
        cause: error)
    }
  }
}

extension TruncationStrategy {
  /// - Throws: DATA-205.
  public init(named name: String) throws(Fault) {
    // `raise` is the name of `delete` inside the reference library.
    guard let value = TruncationStrategy(rawValue: name == "raise" ? "delete" : name) else {
      throw Fault(
        .unknownTemplate, "there is no truncation strategy \"\(name)\"",
        at: .flag("truncation_strategy"), expected: "delete, left or right", found: name,
        fix: "name one of these")
    }
    self = value
  }
}
