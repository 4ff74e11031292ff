import Foundation
import Support

extension Tokenizer {
  /// Reads the tokenizer of a model folder: `tokenizer.json`, or `vocab.json` with `merges.txt`
  /// and the added tokens of `added_tokens.json`; beside it `tokenizer_config.json` and
  /// `chat_template.jinja`, if they are there.
  /// - Throws: TOK-101 if there is none, TOK-102 if a file is damaged, TOK-103 if it is of
  ///   another kind, FILE-002 or FILE-004 if a file cannot be read or is not JSON.
  public init(folder: String) throws(Fault) {
    let files = TokenizerFolder(path: folder)
    let config = try files.json("tokenizer_config.json")?.object ?? JSONObject()
    var parts: TokenizerParts
    if let root = try files.json("tokenizer.json") {
      parts = try TokenizerJSON(root: root, file: files.path(of: "tokenizer.json")).read()
    } else {
      parts = try files.readVocabAndMerges()
    }
    try files.addTokens(of: config, to: &parts)
    try self.init(parts)
    endID = try files.token("eos_token", of: config, in: self)
    padID = try files.token("pad_token", of: config, in: self)
    chatTemplate = try files.chatTemplate(config)
  }
}

/// The tokenizer files of a model folder.
struct TokenizerFolder {
  let path: String

  func path(of name: String) -> String { path.hasSuffix("/") ? path + name : path + "/" + name }

  /// Bytes of a file, or nil if the folder has no such file.
  /// - Throws: FILE-002 if it is there and cannot be read.
  func bytes(_ name: String) throws(Fault) -> Data? {
    let file = path(of: name)
    guard FileManager.default.fileExists(atPath: file) else { return nil }
    do {
      return try Data(contentsOf: URL(fileURLWithPath: file))
    } catch {
      throw Fault(
        .unreadableFile, "the file cannot be read", at: .file(file),
        fix: "check the rights of the file", cause: error)
    }
  }

  /// A JSON file, or nil if the folder has no such file.
  /// - Throws: FILE-002, FILE-004.
  func json(_ name: String) throws(Fault) -> JSONValue? {
    guard let data = try bytes(name) else { return nil }
    let parsed: Result<JSONValue, any Error> = Result {
      try data.withUnsafeBytes { try JSONValue.parse($0) }
    }
    switch parsed {
    case .success(let value): return value
    case .failure(let error):
      let syntax = error as? JSONSyntaxError
      throw Fault(
        .badJSON, "not valid JSON (\(syntax?.reason ?? "\(error)"))",
        at: .file(path(of: name), line: syntax?.line, column: syntax?.column),
        fix: "copy the file of the model again")
    }
  }

  /// A UTF-8 text file, or nil if the folder has no such file.
  /// - Throws: FILE-002, TOK-102.
  func text(_ name: String) throws(Fault) -> String? {
    guard let data = try bytes(name) else { return nil }
    guard let text = String(validating: data, as: UTF8.self) else {
      throw Fault(
        .badTokenizer, "the file is not UTF-8", at: .file(path(of: name)),
        fix: "copy the file of the model again")
    }
    return text
  }

  /// `vocab.json`, `merges.txt` and `added_tokens.json`.
  /// - Throws: TOK-101, TOK-102, FILE-002, FILE-004.
  func readVocabAndMerges() throws(Fault) -> TokenizerParts {
    guard let vocabulary = try json("vocab.json"), let merges = try text("merges.txt") else {
      throw Fault(
        .missingTokenizer, "the folder has no tokenizer", at: .file(path),
        expected: "tokenizer.json, or vocab.json and merges.txt",
        fix: "name a complete model folder with --model, or copy the tokenizer files into it")
    }
    var parts = TokenizerParts()
    parts.file = path(of: "vocab.json")
    parts.vocabulary = try Self.entries(vocabulary, parts)
    parts.file = path(of: "merges.txt")
    for line in merges.split(whereSeparator: \.isNewline) where !line.hasPrefix("#version") {
      let words = line.split(separator: " ")
      guard words.count == 2 else {
        throw parts.bad("line \"\(line)\" is not a pair of tokens")
      }
      parts.merges.append((String(words[0]), String(words[1])))
    }
    if let added = try json("added_tokens.json") {
      parts.file = path(of: "added_tokens.json")
      for (content, id) in try Self.entries(added, parts) {
        // Without further flags a token is taken as special, as the reference library does.
        let small = try Self.small(id, parts)
        try parts.add(AddedToken(id: small, content: content, isSpecial: true))
      }
    }
    return parts
  }

  /// An object of names and ids.
  static func entries(
    _ value: JSONValue, _ parts: TokenizerParts
  ) throws(Fault) -> [(token: String, id: Int)] {
    guard let object = value.object else {
      throw parts.bad("expected an object of tokens and ids, found \(value.kind)")
    }
    var result: [(String, Int)] = []
    result.reserveCapacity(object.count)
    for (token, id) in object.members {
      guard let id = id.int else {
        throw parts.bad("the id of token \"\(token)\" is not a whole number")
      }
      result.append((token, id))
    }
    return result
  }

  static func small(_ id: Int, _ parts: TokenizerParts) throws(Fault) -> Int32 {
    guard let small = Int32(exactly: id) else { throw parts.bad("token id \(id) is too large") }
    return small
  }
}

extension TokenizerFolder {
  /// Adds the tokens of `added_tokens_decoder` in `tokenizer_config.json`.
  /// - Throws: TOK-102, TOK-103.
  func addTokens(of config: JSONObject, to parts: inout TokenizerParts) throws(Fault) {
    guard let decoder = config["added_tokens_decoder"]?.object else { return }
    parts.file = path(of: "tokenizer_config.json")
    for (key, value) in decoder.members {
      guard let id = Int32(key) else {
        throw parts.bad("added_tokens_decoder has the key \"\(key)\", which is no id")
      }
      try parts.add(AddedTokenEntry.read(value, id: id, parts))
    }
  }

  /// Id of a token that the configuration names by its text or as an object with `content`.
  /// - Throws: TOK-102 if it is named and unknown.
  func token(
    _ name: String, of config: JSONObject, in tokenizer: Tokenizer
  ) throws(Fault) -> Int32? {
    guard let value = config[name], let content = value.string ?? value["content"]?.string else {
      return nil
    }
    guard let id = tokenizer.id(of: content) else {
      throw Fault(
        .badTokenizer, "\(name) is \"\(content)\", which is no token of this tokenizer",
        at: .file(path(of: "tokenizer_config.json")), fix: "correct \(name)")
    }
    return id
  }

  /// The chat template: a file of its own, or in the configuration (there also as a list of
  /// named templates, of which `default` counts).
  func chatTemplate(_ config: JSONObject) throws(Fault) -> String? {
    if let text = try text("chat_template.jinja") { return text }
    if let text = try json("chat_template.json")?["chat_template"]?.string { return text }
    if let list = config["chat_template"]?.array {
      return list.first { $0["name"]?.string == "default" }?["template"]?.string
    }
    return config["chat_template"]?.string
  }
}
