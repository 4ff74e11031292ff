import Foundation
import Support

/// Turns the words of a command line, or a value of a JSON file, into the value of an option.
///
/// The failure of every function is a sentence without the option's name.
enum ValueReader {
  /// What is wrong, as a sentence.
  struct Failure: Error {
    let text: String
    init(_ text: String) { self.text = text }
  }

  static let trueWords = ["yes", "true", "t", "y", "1"]
  static let falseWords = ["no", "false", "f", "n", "0"]

  static func bool(_ word: String) -> Bool? {
    let lower = word.lowercased()
    if trueWords.contains(lower) { return true }
    return falseWords.contains(lower) ? false : nil
  }

  /// - Parameter words: one for all kinds but lists.
  static func value(_ kind: OptionKind, _ words: [String]) throws(Failure) -> OptionValue {
    let word = words.first ?? ""
    switch kind {
    case .bool, .optionalBool:
      guard let value = bool(word) else {
        throw Failure("expected true or false (also yes, y, t, 1, no, n, f, 0), got \"\(word)\"")
      }
      return .bool(value)
    case .int:
      guard let value = NumberSyntax.int(word) else {
        throw Failure("expected an int, got \"\(word)\"")
      }
      return .int(value)
    case .float:
      guard let value = NumberSyntax.float(word) else {
        throw Failure("expected a float, got \"\(word)\"")
      }
      return .float(value)
    case .text: return .text(word)
    case .choice(let choices):
      guard choices.contains(word) else {
        throw Failure("expected one of \(choices.joined(separator: ", ")), got \"\(word)\"")
      }
      return .text(word)
    case .list: return .list(words)
    case .floatList:
      var numbers: [Double] = []
      for word in words {
        guard let number = NumberSyntax.float(word) else {
          throw Failure("expected floats, got \"\(word)\"")
        }
        numbers.append(number)
      }
      return .floats(numbers)
    case .json: return .json(try json(word))
    case .textOrJSON:
      let looksLikeJSON = word.first == "{" || word.first == "["
      return looksLikeJSON ? .json(try json(word)) : .text(word)
    }
  }

  /// Inline JSON, or the content of a JSON file of that name.
  private static func json(_ word: String) throws(Failure) -> JSONValue {
    var text = word
    var source = "inline JSON"
    let path = PathText.expanded(word)
    var isFolder: ObjCBool = false
    if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), !isFolder.boolValue {
      guard let content = FileManager.default.contents(atPath: path) else {
        throw Failure("the file \(path) cannot be read")
      }
      text = String(decoding: content, as: UTF8.self)
      source = "the file \(path)"
    }
    do {
      return try JSONValue.parse(text)
    } catch {
      throw Failure("expected JSON or the path of a JSON file; \(source) is not valid: \(error)")
    }
  }

  /// A value of a configuration file or of `args.json`; texts are read as words of a command line.
  /// - Returns: nil for `null`, which changes nothing.
  static func value(_ kind: OptionKind, json: JSONValue) throws(Failure) -> OptionValue? {
    switch (kind, json) {
    case (_, .null): return nil
    case (.json, .string(let text)): return try value(.json, [text])
    case (.json, _): return .json(json)
    case (.textOrJSON, .string(let text)): return .text(text)
    case (.textOrJSON, _): return .json(json)
    case (.bool, .bool(let flag)), (.optionalBool, .bool(let flag)): return .bool(flag)
    case (.list, .array(let items)), (.floatList, .array(let items)):
      var words: [String] = []
      for item in items { words.append(try word(item, in: kind)) }
      return try value(kind, words)
    case (.list, _), (.floatList, _): return try value(kind, [try word(json, in: kind)])
    case (_, .string), (_, .number):
      return try value(kind, [try word(json, in: kind)])
    default: throw Failure("expected \(kind.name), got \(json.kind)")
    }
  }

  private static func word(_ json: JSONValue, in kind: OptionKind) throws(Failure) -> String {
    switch json {
    case .string(let text): return text
    case .number(let text): return text
    default: throw Failure("expected \(kind.name), got \(json.kind) in the list")
    }
  }
}

/// Paths as users write them.
enum PathText {
  /// Expands a leading `~`.
  static func expanded(_ path: String) -> String {
    path.hasPrefix("~") ? (path as NSString).expandingTildeInPath : path
  }

  /// Expands `~` and makes the path absolute, without following links.
  static func absolute(_ path: String) -> String {
    let expanded = expanded(path)
    let whole =
      expanded.hasPrefix("/")
      ? expanded : FileManager.default.currentDirectoryPath + "/" + expanded
    return (whole as NSString).standardizingPath
  }

  static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }
}
