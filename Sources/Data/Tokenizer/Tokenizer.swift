import Support

/// A byte-level byte-pair tokenizer as Qwen uses it (GPT-2's bytes, the split pattern of
/// `PieceScanner`, Unicode form C, added tokens matched in any text).
///
/// Immutable, so that all threads share one. Every byte has an id: no text is unknown.
public struct Tokenizer: Sendable {
  let tokens: TokenTable
  let merges: MergeTable
  let byteIDs: [Int32]
  let rawMatcher: AddedTokenMatcher
  let normalizedMatcher: AddedTokenMatcher
  let normalizesToNFC: Bool
  /// Whether an id is special, by id.
  let isSpecial: [Bool]
  /// What the pieces came from, kept for writing the tokenizer out again.
  let ranked: [(left: Int32, right: Int32)]

  /// Added tokens in order of their ids.
  public let addedTokens: [AddedToken]
  /// One more than the highest id; a model's embedding has at least as many rows.
  public var idCount: Int { tokens.count }
  /// End of a turn and of generation (`eos_token`; `<|im_end|>` for Qwen), nil if none is named.
  public internal(set) var endID: Int32?
  /// Fills up batches (`pad_token`; `<|endoftext|>` for Qwen), nil if none is named.
  public internal(set) var padID: Int32?
  /// The folder's chat template in Jinja, as text; only looked at to choose a template.
  public internal(set) var chatTemplate: String?

  init(_ parts: TokenizerParts) throws(Fault) {
    let vocabulary = try TokenizerVocabulary(parts)
    addedTokens = parts.addedTokens.sorted { $0.id < $1.id }
    rawMatcher = AddedTokenMatcher(parts.addedTokens.filter { !$0.isNormalized })
    normalizedMatcher = AddedTokenMatcher(parts.addedTokens.filter(\.isNormalized))
    normalizesToNFC = parts.normalizesToNFC
    byteIDs = vocabulary.byteIDs
    ranked = vocabulary.merges.map { ($0.left, $0.right) }
    var merges = MergeTable(capacity: ranked.count)
    for (rank, merge) in vocabulary.merges.enumerated() {
      merges.insert(left: merge.left, right: merge.right, rank: rank, result: merge.result)
    }
    self.merges = merges

    var byID = vocabulary.tokens
    var isSpecial = [Bool](repeating: false, count: byID.count)
    for token in addedTokens {
      byID[Int(token.id)] = Array(token.content.utf8)
      isSpecial[Int(token.id)] = token.isSpecial
    }
    self.isSpecial = isSpecial
    var table = TokenTable(byID)
    let whole = vocabulary.wholeTokens(merges, byteIDs, ignoresMerges: parts.ignoresMerges)
    table.indexWhole { whole[$0] }
    tokens = table
  }

  /// Id of a token by its text, added or not; nil if there is none.
  public func id(of token: String) -> Int32? {
    if let added = addedTokens.first(where: { $0.content.utf8.elementsEqual(token.utf8) }) {
      return added.id
    }
    return Array(token.utf8).withUnsafeBufferPointer { tokens.find($0) }
  }

  /// Bytes of a token; none for an id without a token.
  public func bytes(of id: Int32) -> [UInt8] {
    guard id >= 0, Int(id) < tokens.count else { return [] }
    return Array(tokens.bytes[tokens.range(of: Int(id))])
  }

  /// Ids of a text. No begin or end token is added.
  ///
  /// For many texts keep a `TokenEncoder`: it reuses its memory.
  public func encode(_ text: String) -> [Int32] {
    var encoder = TokenEncoder(self)
    return encoder.encode(text)
  }
}
