import Support

/// What a tokenizer is made of, whichever files it came from.
struct TokenizerParts {
  /// Text of each token of the byte-pair vocabulary, by byte letters.
  var vocabulary: [(token: String, id: Int)] = []
  /// Pairs in order of rank.
  var merges: [(left: String, right: String)] = []
  var addedTokens: [AddedToken] = []
  var normalizesToNFC = true
  /// A piece that is a token needs no merging.
  var ignoresMerges = false
  /// The file to name in a fault.
  var file = ""

  func bad(_ message: String, fix: String? = nil) -> Fault {
    Fault(
      .badTokenizer, message, at: .file(file),
      fix: fix ?? "copy the tokenizer files of the model again")
  }

  /// Adds the token, or the flags to a token that is known already.
  mutating func add(_ token: AddedToken) throws(Fault) {
    guard !token.content.isEmpty else { throw bad("added token \(token.id) is empty") }
    guard token.id >= 0 else {
      throw bad("added token \"\(token.content)\" has the negative id \(token.id)")
    }
    for i in addedTokens.indices {
      let known = addedTokens[i]
      let sameContent = known.content.utf8.elementsEqual(token.content.utf8)
      if sameContent && known.id == token.id {
        addedTokens[i] = token
        return
      }
      if known.id == token.id || sameContent {
        throw bad(
          "two added tokens clash: \"\(known.content)\" (\(known.id)) and"
            + " \"\(token.content)\" (\(token.id))")
      }
    }
    addedTokens.append(token)
  }
}
