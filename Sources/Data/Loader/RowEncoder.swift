import Support

/// Turns a standard row into tokens: the chat template, given by the caller.
public typealias RowEncoding = @Sendable (StandardRow) throws(Fault) -> EncodedRow

/// What happens to rows over `max_length`.
public enum TruncationStrategy: String, Sendable {
  /// The row is left out.
  case delete
  /// The first tokens go.
  case left
  /// The last tokens go.
  case right
}

/// How rows become tokens and packs.
public struct EncodingOptions: Sendable, Equatable {
  /// `--max_length`: most tokens of a row; nil = no limit.
  public var maxLength: Int?
  public var truncation = TruncationStrategy.delete
  /// Tokens that cutting never removes (places of pictures and clips).
  public var protectedTokens: Set<Int32> = []
  public var packing = false
  /// `--packing_length`: tokens of a pack; nil = `maxLength`.
  public var packingLength: Int?
  /// `--lazy_tokenize`: rows are encoded when they are fetched.
  public var lazy = false
  /// `--streaming`: rows are read, encoded and packed as they are used.
  public var streaming = false
  public var shuffleBufferSize = 1000
  /// `--load_from_cache_file` with the folder of the cache; nil = encode anew.
  public var cacheFolder: String?
  /// Everything the encoding depends on beside the rows: tokenizer, template, its options,
  /// environment. Another text means another cache entry.
  public var fingerprint = ""
  /// The same in parts with names, for encoded data sets of other runs.
  public var parts: [EncodingPart] = []
  public init() {}

  /// Tokens a pack holds.
  var capacity: Int? { packing ? packingLength ?? maxLength : nil }
  /// Most tokens of one row: a row must fit into its pack.
  var limit: Int? { [maxLength, capacity].compactMap { $0 }.min() }
}

/// What became of a row.
enum RowOutcome: Sendable, Equatable {
  case kept(EncodedRow, wasCut: Bool, warnings: [String])
  case tooLong(reason: String)
  case bad(reason: String)
}

/// Encodes single rows: checks the structure, calls the template, applies the length rule.
struct RowEncoder: Sendable {
  let structure: RowStructure
  let options: EncodingOptions
  let strict: Bool
  let encode: RowEncoding
  /// Reads pictures and clips; nil for models without vision.
  var media: (any MediaLoading)?
  let log: ReportLog

  /// Encodes a row and decodes its media once, so that damage is found before training; their
  /// patches are not kept.
  /// - Throws: faults that are not of the row; with `strict` also those.
  func outcome(_ row: StandardRow) throws(Fault) -> RowOutcome {
    try outcome(row) { (encoded) throws(Fault) in
      if let media, !encoded.media.isEmpty { encoded.warnings += try media.check(encoded) }
    }
  }

  /// Encodes a row with the patches of its media.
  /// - Throws: as `outcome`.
  func loadedOutcome(_ row: StandardRow) throws(Fault) -> RowOutcome {
    try outcome(row) { (encoded) throws(Fault) in encoded = try loaded(encoded) }
  }

  /// The row with the patches of its media.
  /// - Throws: `DATA-401` to `DATA-405` for media that became unreadable.
  func loaded(_ row: EncodedRow) throws(Fault) -> EncodedRow {
    guard let media, !row.media.isEmpty else { return row }
    return try media.load(row)
  }

  private func outcome(
    _ row: StandardRow, _ readMedia: (inout EncodedRow) throws(Fault) -> Void
  ) throws(Fault) -> RowOutcome {
    do throws(Fault) {
      let warnings = try structure.check(row)
      // Rows that bring their tokens too: only the template knows where the vocabulary ends.
      let whole = try encode(row)
      let wasCut = whole.inputIDs.count > (options.limit ?? .max)
      var encoded = try fit(whole, row.source)
      try readMedia(&encoded)
      let told = warnings + encoded.warnings
      encoded.warnings = []
      return .kept(encoded, wasCut: wasCut, warnings: told)
    } catch {
      guard error.isOfRow else { throw error }
      if strict { throw error.located(row.source).asStrict }
      return error.code == .rowTooLong ? .tooLong(reason: error.reason) : .bad(reason: error.reason)
    }
  }

  /// A row that was encoded by another run, held to the length rule of this one.
  /// - Throws: as `outcome`.
  func refit(_ row: StoredRow) throws(Fault) -> RowOutcome {
    guard case .kept(let encoded, let wasCut, let warnings) = row.outcome,
      encoded.inputIDs.count > (options.limit ?? .max)
    else { return row.outcome }
    do throws(Fault) {
      return .kept(
        try fit(encoded, row.source), wasCut: wasCut || options.truncation != .delete,
        warnings: warnings)
    } catch {
      guard error.isOfRow, !strict else { throw error }
      return .tooLong(reason: error.reason)
    }
  }

  private func fit(_ row: EncodedRow, _ source: StandardRow.Source) throws(Fault) -> EncodedRow {
    let weights = row.lossScale?.count ?? row.labels.count
    guard row.labels.count == row.inputIDs.count, weights == row.labels.count else {
      throw Fault(
        .internalError,
        "a row has \(row.inputIDs.count) tokens, \(row.labels.count) labels and "
          + "\(weights) weights", at: .file(source.file, line: source.line))
    }
    guard !row.inputIDs.isEmpty else {
      throw Fault(
        .badRow, "the row has no tokens", at: .file(source.file, line: source.line),
        fix: "give it a text, or drop it")
    }
    guard let limit = options.limit, row.inputIDs.count > limit else { return row }
    guard options.truncation != .delete else {
      throw Fault(
        .rowTooLong, "row has \(row.inputIDs.count) tokens, max_length is \(limit)",
        at: .file(source.file, line: source.line),
        fix: "raise --max_length, or cut with --truncation_strategy left or right")
    }
    return row.cut(to: limit, from: options.truncation, keeping: options.protectedTokens)
  }

  /// Notes in the report what became of the row.
  func record(_ outcome: RowOutcome, of source: StandardRow.Source) {
    switch outcome {
    case .kept(_, let wasCut, let warnings):
      for text in warnings { log.update { $0.warned(source, text) } }
      if wasCut { log.update { $0.update(source.file) { $0.truncated += 1 } } }
    case .tooLong: log.update { $0.update(source.file) { $0.tooLong += 1 } }
    case .bad(let reason): log.update { $0.dropped(source, reason: reason) }
    }
  }
}

extension EncodedRow {
  /// The row cut to `limit` tokens: protected tokens stay, of the others the first (`right`) or the
  /// last (`left`). Still longer than `limit` if the protected ones alone are.
  func cut(to limit: Int, from side: TruncationStrategy, keeping kept: Set<Int32>) -> EncodedRow {
    let isKept = inputIDs.map { kept.contains($0) }
    var room = max(limit - isKept.count { $0 }, 0)
    var chosen = isKept
    let order = side == .left ? Array(inputIDs.indices.reversed()) : Array(inputIDs.indices)
    for place in order where !isKept[place] && room > 0 {
      chosen[place] = true
      room -= 1
    }
    func pick<T>(_ list: [T]) -> [T] { zip(list, chosen).filter { $0.1 }.map { $0.0 } }
    var row = EncodedRow(
      inputIDs: pick(inputIDs), labels: pick(labels), lossScale: lossScale.map(pick),
      channel: channel, media: media)
    row.warnings = warnings
    // Nothing stands before the first token to predict it from.
    if !row.labels.isEmpty { row.labels[0] = -100 }
    if row.lossScale?.isEmpty == false { row.lossScale?[0] = 0 }
    return row
  }
}

extension Fault {
  /// The fault with the place of the row, where it has none.
  func located(_ source: StandardRow.Source) -> Fault {
    var fault = self
    if case .file(let path, _, _)? = place, path == source.file { return self }
    fault.place = .file(source.file, line: source.line)
    return fault
  }
}
