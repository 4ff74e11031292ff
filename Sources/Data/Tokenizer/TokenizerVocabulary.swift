import Support

/// The checked vocabulary: bytes by id, merges by id.
struct TokenizerVocabulary {
  /// Bytes of the byte-pair tokens by id; nil where there is none.
  private(set) var tokens: [[UInt8]?]
  /// Ids in order of rank.
  private(set) var merges: [(left: Int32, right: Int32, result: Int32)] = []
  /// Id of each byte.
  private(set) var byteIDs = [Int32](repeating: -1, count: 256)
  /// Tokens that some merge makes, and the bytes.
  private var isMade: [Bool]

  /// Ids above this are taken for a damaged file: a table by id would fill the memory.
  private static let largestID = 1 << 24

  init(_ parts: TokenizerParts) throws(Fault) {
    let highest = max(
      parts.vocabulary.map(\.id).max() ?? -1, parts.addedTokens.map { Int($0.id) }.max() ?? -1)
    guard highest <= Self.largestID else {
      throw parts.bad("token id \(highest) is beyond \(Self.largestID)")
    }
    tokens = Array(repeating: nil, count: highest + 1)
    isMade = Array(repeating: false, count: highest + 1)
    let ids = try readTokens(parts)
    try readBytes(parts)
    try readMerges(parts, ids)
  }

  private mutating func readTokens(_ parts: TokenizerParts) throws(Fault) -> [[UInt8]: Int32] {
    let added = Set(parts.addedTokens.map(\.id))
    var ids: [[UInt8]: Int32] = [:]
    ids.reserveCapacity(parts.vocabulary.count)
    for (token, id) in parts.vocabulary {
      guard id >= 0 else { throw parts.bad("token \"\(token)\" has the negative id \(id)") }
      // Some files list the added tokens in the vocabulary as well.
      if added.contains(Int32(id)) { continue }
      guard let bytes = ByteAlphabet.decode(token), !bytes.isEmpty else {
        throw parts.bad("token \"\(token)\" is not written in byte letters")
      }
      guard tokens[id] == nil, ids.updateValue(Int32(id), forKey: bytes) == nil else {
        throw parts.bad("id \(id) or token \"\(token)\" stands twice in the vocabulary")
      }
      tokens[id] = bytes
    }
    return ids
  }

  private mutating func readBytes(_ parts: TokenizerParts) throws(Fault) {
    for (id, bytes) in tokens.enumerated() {
      guard let bytes, bytes.count == 1 else { continue }
      byteIDs[Int(bytes[0])] = Int32(id)
      isMade[id] = true
    }
    if let missing = byteIDs.firstIndex(of: -1) {
      throw parts.bad(
        "the vocabulary has no token for byte \(missing), so some texts could not be written",
        fix: "use a byte-level tokenizer: its vocabulary holds all 256 bytes")
    }
  }

  private mutating func readMerges(
    _ parts: TokenizerParts, _ ids: [[UInt8]: Int32]
  ) throws(Fault) {
    merges.reserveCapacity(parts.merges.count)
    for (rank, (left, right)) in parts.merges.enumerated() {
      guard let leftBytes = ByteAlphabet.decode(left), let rightBytes = ByteAlphabet.decode(right),
        let leftID = ids[leftBytes], let rightID = ids[rightBytes],
        let result = ids[leftBytes + rightBytes]
      else {
        throw parts.bad(
          "merge \(rank + 1) (\"\(left)\" \"\(right)\") uses or makes a token that the vocabulary"
            + " does not hold")
      }
      isMade[Int(result)] = true
      merges.append((leftID, rightID, result))
    }
  }

  /// For each id, whether a piece of exactly its bytes becomes it: then no merging is needed.
  func wholeTokens(
    _ table: MergeTable, _ byteIDs: [Int32], ignoresMerges: Bool
  ) -> [Bool] {
    var merger = PieceMerger(byteIDs: byteIDs, merges: table)
    var out: [Int32] = []
    return tokens.indices.map { id in
      guard let bytes = tokens[id] else { return false }
      if ignoresMerges { return true }
      guard isMade[id] else { return false }
      out.removeAll(keepingCapacity: true)
      bytes.withUnsafeBufferPointer { merger.merge($0, into: &out) }
      return out.count == 1 && out[0] == Int32(id)
    }
  }
}
