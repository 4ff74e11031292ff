import Support

/// Reader of `tokenizer.json`, the file of the Hugging Face tokenizers library.
struct TokenizerJSON {
  let root: JSONValue
  let file: String

  /// The split pattern that `PieceScanner` carries out, as the file spells it.
  static let splitPattern =
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"#
    + #"|\s*[\r\n]+|\s+(?!\S)|\s+"#

  /// - Throws: TOK-102 if the file contradicts itself, TOK-103 if it asks for what is not built in.
  func read() throws(Fault) -> TokenizerParts {
    var parts = TokenizerParts()
    parts.file = file
    guard let model = root["model"], model.object != nil else {
      throw parts.bad("the file has no model")
    }
    try checkModel(model)
    try checkSplit()
    parts.normalizesToNFC = try readNormalizer(root["normalizer"])
    parts.ignoresMerges = model["ignore_merges"]?.bool ?? false
    guard let vocabulary = model["vocab"] else { throw parts.bad("the model has no vocab") }
    parts.vocabulary = try TokenizerFolder.entries(vocabulary, parts)
    parts.merges = try readMerges(model["merges"], parts)
    for entry in root["added_tokens"]?.array ?? [] {
      guard let id = entry["id"]?.int else {
        throw parts.bad("an added token has no id: \(entry.write())")
      }
      let small = try TokenizerFolder.small(id, parts)
      try parts.add(AddedTokenEntry.read(entry, id: small, parts))
    }
    return parts
  }

  private func unsupported(_ what: String, expected: String, found: String) -> Fault {
    Fault(
      .unsupportedTokenizer, "\(what) is not built in", at: .file(file), expected: expected,
      found: found, fix: "use the tokenizer of a Qwen2, Qwen2.5 or Qwen3 model")
  }

  private func checkModel(_ model: JSONValue) throws(Fault) {
    let type = model["type"]?.string ?? "BPE"
    guard type == "BPE" else {
      throw unsupported("the model of the tokenizer", expected: "BPE", found: type)
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let text = model[key]?.string, !text.isEmpty {
        throw unsupported(key, expected: "an empty one", found: "\"\(text)\"")
      }
    }
    if let dropout = model["dropout"]?.double, dropout != 0 {
      throw unsupported("dropout of merges", expected: "null", found: "\(dropout)")
    }
  }

  /// `Split` by Qwen's pattern, then `ByteLevel` without a pattern of its own.
  private func checkSplit() throws(Fault) {
    let steps = root["pre_tokenizer"]?["pretokenizers"]?.array ?? []
    let split = steps.first { $0["type"]?.string == "Split" }
    let bytes = steps.first { $0["type"]?.string == "ByteLevel" }
    guard steps.count == 2, let bytes, bytes["use_regex"]?.bool == false,
      bytes["add_prefix_space"]?.bool != true,
      let pattern = split?["pattern"]?["Regex"]?.string, pattern == Self.splitPattern,
      split?["behavior"]?.string == "Isolated", split?["invert"]?.bool != true
    else {
      throw unsupported(
        "the pre_tokenizer", expected: "Split by \(Self.splitPattern), then ByteLevel",
        found: root["pre_tokenizer"]?.write() ?? "none")
    }
  }

  private func readNormalizer(_ value: JSONValue?) throws(Fault) -> Bool {
    guard let value, !value.isNull else { return false }
    if value["type"]?.string == "NFC" { return true }
    if value["type"]?.string == "Sequence", let steps = value["normalizers"]?.array {
      if steps.isEmpty { return false }
      if steps.allSatisfy({ $0["type"]?.string == "NFC" }) { return true }
    }
    throw unsupported("the normalizer", expected: "NFC or none", found: value.write())
  }

  /// Merges as `"left right"` texts or as `["left", "right"]` lists.
  private func readMerges(
    _ value: JSONValue?, _ parts: TokenizerParts
  ) throws(Fault) -> [(left: String, right: String)] {
    guard let list = value?.array else { throw parts.bad("the model has no list of merges") }
    var result: [(String, String)] = []
    result.reserveCapacity(list.count)
    for (i, merge) in list.enumerated() {
      if let pair = merge.array, pair.count == 2, let left = pair[0].string,
        let right = pair[1].string
      {
        result.append((left, right))
        continue
      }
      guard let text = merge.string, let blank = text.utf8.firstIndex(of: UInt8(ascii: " ")) else {
        throw parts.bad("merge \(i + 1) is not a pair of tokens: \(merge.write())")
      }
      let right = text[text.utf8.index(after: blank)...]
      result.append((String(text[..<blank]), String(right)))
    }
    return result
  }
}

/// One added token as `tokenizer.json` and `tokenizer_config.json` write it.
enum AddedTokenEntry {
  /// - Throws: TOK-102 without content, TOK-103 if white space round it is to be taken along.
  static func read(
    _ value: JSONValue, id: Int32, _ parts: TokenizerParts
  ) throws(Fault) -> AddedToken {
    guard let content = value["content"]?.string else {
      throw parts.bad("added token \(id) has no content")
    }
    for flag in ["lstrip", "rstrip", "single_word"] where value[flag]?.bool == true {
      throw Fault(
        .unsupportedTokenizer, "added token \"\(content)\" sets \(flag), which is not built in",
        at: .file(parts.file), expected: "\(flag): false",
        fix: "set \(flag) to false; the token is then matched exactly")
    }
    return AddedToken(
      id: id, content: content, isSpecial: value["special"]?.bool ?? false,
      isNormalized: value["normalized"]?.bool ?? false)
  }
}
