import Support

extension ChatTemplate {
  /// A text that changes with everything the encoding depends on beside the rows: options of the
  /// template and the tokenizer. Stored rows belong to one fingerprint.
  public var fingerprint: String {
    let limits = "\(options.maxLength ?? -1) \(options.truncation.rawValue)"
    return (parts.map(\.text) + [limits]).joined(separator: "|")
  }

  /// The same in parts, without what cuts a row to length.
  public var parts: [EncodingPart] {
    let sizes = "\(options.lengthMultiple) \(options.vocabularySize ?? -1)"
    return [
      EncodingPart("tokenizer", tokenizer.digest),
      EncodingPart(
        "chat template",
        [
          "template 2", options.template.rawValue, "\(options.usesChatTemplate)",
          options.system.debugDescription, options.lossScale.rawValue, sizes,
        ].joined(separator: "|")),
      EncodingPart("setting of pictures and clips", options.media.fingerprint),
    ]
  }
}

extension Tokenizer {
  /// SHA-256, in hexadecimal digits, of the tokens, the merges and the rules of matching.
  public var digest: String {
    let hash = Digest(.sha256)
    hash.update(tokens.bytes)
    var numbers: [UInt8] = []
    func add(_ number: Int32) {
      withUnsafeBytes(of: number.littleEndian) { numbers += $0 }
    }
    tokens.starts.forEach(add)
    for (left, right) in ranked {
      add(left)
      add(right)
    }
    for token in addedTokens {
      add(token.id)
      numbers += [token.isSpecial ? 1 : 0, token.isNormalized ? 1 : 0]
    }
    numbers += [normalizesToNFC ? 1 : 0]
    hash.update(numbers)
    hash.update(text: "\(endID ?? -1) \(padID ?? -1)")
    return hash.hexadecimal()
  }
}
