import Foundation
import Support

extension Tokenizer {
  /// A tokenizer without merges: one token per byte (ids 0–255 in the customary order), then the
  /// added tokens. For tiny models that are trained in tests and demonstrations.
  /// - Parameters:
  ///   - special: texts of special tokens, ids from 256 on.
  ///   - plain: added tokens that stay when special ones are skipped, after the special ones.
  ///   - end, pad: which of them ends a turn and fills up batches.
  /// - Throws: TOK-102 if a token is empty or stands twice.
  public static func byteLevel(
    special: [String], plain: [String] = [], end: String? = nil, pad: String? = nil,
    chatTemplate: String? = nil
  ) throws(Fault) -> Tokenizer {
    var parts = TokenizerParts()
    parts.file = "byte-level tokenizer"
    for (id, byte) in ByteAlphabet.order.enumerated() {
      parts.vocabulary.append((ByteAlphabet.encode([byte]), id))
    }
    for (i, content) in (special + plain).enumerated() {
      let id = Int32(256 + i)
      try parts.add(AddedToken(id: id, content: content, isSpecial: i < special.count))
    }
    var tokenizer = try Tokenizer(parts)
    for name in [end, pad] {
      if let name, tokenizer.id(of: name) == nil {
        throw parts.bad("\"\(name)\" is none of the tokens", fix: "list it among the tokens")
      }
    }
    tokenizer.endID = end.flatMap { tokenizer.id(of: $0) }
    tokenizer.padID = pad.flatMap { tokenizer.id(of: $0) }
    tokenizer.chatTemplate = chatTemplate
    return tokenizer
  }

  /// Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, `vocab.json`,
  /// `merges.txt`, `added_tokens.json` and, if there is one, `chat_template.jinja`.
  /// - Throws: FILE-003.
  public func write(to folder: String) throws(Fault) {
    var files = [
      "tokenizer.json": tokenizerJSON.write(.indented),
      "tokenizer_config.json": configJSON.write(.indented),
      "special_tokens_map.json": JSONValue.object(namedTokens).write(.indented),
      "vocab.json": JSONValue.object(vocabularyJSON).write(),
      "merges.txt": "#version: 0.2\n" + mergeTexts.map { $0 + "\n" }.joined(),
      "added_tokens.json": JSONValue.object(
        JSONObject(addedTokens.map { ($0.content, JSONValue(Int($0.id))) })
      ).write(.indented),
    ]
    files["chat_template.jinja"] = chatTemplate
    for (name, text) in files.sorted(by: { $0.key < $1.key }) {
      let path = TokenizerFolder(path: folder).path(of: name)
      do {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
      } catch {
        throw Fault(
          .cannotWrite, "the file cannot be written", at: .file(path),
          fix: "check that the folder exists and that the disk has room", cause: error)
      }
    }
  }

  private func letters(of id: Int32) -> String { ByteAlphabet.encode(bytes(of: id)) }

  private var vocabularyJSON: JSONObject {
    let added = Set(addedTokens.map(\.id))
    var members: [(key: String, value: JSONValue)] = []
    for id in 0..<Int32(idCount) where !added.contains(id) && !tokens.range(of: Int(id)).isEmpty {
      members.append((letters(of: id), JSONValue(Int(id))))
    }
    return JSONObject(members)
  }

  private var mergeTexts: [String] {
    ranked.map { letters(of: $0.left) + " " + letters(of: $0.right) }
  }

  private var tokenizerJSON: JSONValue {
    let split = JSONObject([
      ("type", .string("Split")),
      ("pattern", .object(JSONObject([("Regex", .string(TokenizerJSON.splitPattern))]))),
      ("behavior", .string("Isolated")), ("invert", .bool(false)),
    ])
    let model = JSONObject([
      ("type", .string("BPE")), ("dropout", .null), ("unk_token", .null),
      ("continuing_subword_prefix", .string("")), ("end_of_word_suffix", .string("")),
      ("fuse_unk", .bool(false)), ("byte_fallback", .bool(false)),
      ("ignore_merges", .bool(false)), ("vocab", .object(vocabularyJSON)),
      ("merges", .array(mergeTexts.map { .string($0) })),
    ])
    let nfc = JSONValue.object(JSONObject([("type", .string("NFC"))]))
    return .object(
      JSONObject([
        ("version", .string("1.0")), ("truncation", .null), ("padding", .null),
        ("added_tokens", .array(addedTokens.map { .object(Self.flags(of: $0, withID: true)) })),
        ("normalizer", normalizesToNFC ? nfc : .null),
        (
          "pre_tokenizer",
          .object(
            JSONObject([
              ("type", .string("Sequence")),
              ("pretokenizers", .array([.object(split), Self.byteLevelStep])),
            ]))
        ),
        ("post_processor", Self.byteLevelStep), ("decoder", Self.byteLevelStep),
        ("model", .object(model)),
      ]))
  }

  private static var byteLevelStep: JSONValue {
    .object(
      JSONObject([
        ("type", .string("ByteLevel")), ("add_prefix_space", .bool(false)),
        ("trim_offsets", .bool(false)), ("use_regex", .bool(false)),
      ]))
  }

  private static func flags(of token: AddedToken, withID: Bool) -> JSONObject {
    var result = JSONObject()
    if withID { result["id"] = JSONValue(Int(token.id)) }
    result["content"] = .string(token.content)
    for flag in ["single_word", "lstrip", "rstrip"] { result[flag] = .bool(false) }
    result["normalized"] = .bool(token.isNormalized)
    result["special"] = .bool(token.isSpecial)
    return result
  }

  private func text(of id: Int32?) -> JSONValue {
    id.map { .string(String(decoding: bytes(of: $0), as: UTF8.self)) } ?? .null
  }

  private var namedTokens: JSONObject {
    var result = JSONObject()
    if endID != nil { result["eos_token"] = text(of: endID) }
    if padID != nil { result["pad_token"] = text(of: padID) }
    result["additional_special_tokens"] = .array(
      addedTokens.filter { $0.isSpecial && $0.id != padID }.map { .string($0.content) })
    return result
  }

  private var configJSON: JSONValue {
    var decoder = JSONObject()
    for token in addedTokens {
      decoder["\(token.id)"] = .object(Self.flags(of: token, withID: false))
    }
    var config = JSONObject([
      ("add_bos_token", .bool(false)), ("add_prefix_space", .bool(false)),
      ("added_tokens_decoder", .object(decoder)), ("bos_token", .null),
      ("clean_up_tokenization_spaces", .bool(false)), ("eos_token", text(of: endID)),
      ("errors", .string("replace")), ("pad_token", text(of: padID)),
      ("split_special_tokens", .bool(false)), ("tokenizer_class", .string("Qwen2Tokenizer")),
      ("unk_token", .null),
    ])
    if let chatTemplate { config["chat_template"] = .string(chatTemplate) }
    return .object(config)
  }
}
