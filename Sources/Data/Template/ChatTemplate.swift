import Support

/// Turns standard rows into token ids and labels.
///
///     row → Conversation → segments with weights → ids, labels, weights → cut to max_length
///
/// Immutable; workers share one and each keep a `TokenEncoder`.
public struct ChatTemplate: Sendable {
  public let options: TemplateOptions
  public let tokenizer: Tokenizer
  let endText: String
  let turnEndIDs: [Int32]
  /// Ids that stand for parts of pictures and clips; cutting a row keeps them.
  public let placeholderIDs: Set<Int32>

  /// Label of a token that is not trained.
  public static let ignored: Int32 = -100

  /// - Throws: DATA-206 if options exclude each other or the tokenizer lacks a token they need.
  public init(options: TemplateOptions, tokenizer: Tokenizer) throws(Fault) {
    self.options = options
    self.tokenizer = tokenizer
    if let length = options.maxLength, length < 1 {
      throw Fault(
        .badTemplateOption, "max_length is \(length)", at: .flag("max_length"),
        expected: "at least 1", fix: "give a larger --max_length")
    }
    if !options.usesChatTemplate, let system = options.system, !system.isEmpty {
      throw Fault(
        .badTemplateOption, "plain text has no place for a system text", at: .flag("system"),
        fix: "leave --system away, or train with --use_chat_template true")
    }
    if options.lengthMultiple > 1 && tokenizer.padID == nil {
      throw Fault(
        .badTemplateOption, "the tokenizer names no pad_token, which rows are filled up with",
        at: .flag("context_parallel_size"), fix: "add pad_token to tokenizer_config.json")
    }
    endText =
      tokenizer.endID.map { String(decoding: tokenizer.bytes(of: $0), as: UTF8.self) }
      ?? ConversationRenderer.turnEnd
    turnEndIDs = tokenizer.encode(
      options.usesChatTemplate ? ConversationRenderer.turnEnd : endText)
    placeholderIDs = Set(options.template.placeholders.compactMap { tokenizer.id(of: $0) })
  }

  /// Ids and labels of a row for training.
  /// - Throws: DATA-110 if it is too long and not to be cut, DATA-201 to DATA-204.
  public func encode(_ row: StandardRow) throws(Fault) -> EncodedRow {
    var encoder = TokenEncoder(tokenizer)
    var notes: Set<TemplateNote> = []
    return try encode(row, with: &encoder, notes: &notes)
  }

  /// Ids and labels of a row for training, with the worker's own encoder.
  /// - Parameter notes: what a user should know of and that is no fault.
  /// - Throws: as `encode(_:)`.
  public func encode(
    _ row: StandardRow, with encoder: inout TokenEncoder, notes: inout Set<TemplateNote>
  ) throws(Fault) -> EncodedRow {
    var encoded: EncodedRow
    if row.inputIDs != nil || row.labels != nil {
      encoded = try ready(row)
    } else {
      let media = try options.media.prepare(row)
      let segments = try render(media, isPrompt: false, notes: &notes)
      encoded = encodeSegments(segments, with: &encoder)
      encoded = try options.media.expand(encoded, with: media)
    }
    encoded.channel = row.channel
    guard encoded.labels.contains(where: { $0 != Self.ignored }) else {
      throw Fault(
        .nothingToTrain, "no assistant text, nothing to train on",
        at: .file(row.source.file, line: row.source.line),
        fix: "add an assistant message that is trained")
    }
    return try fit(encoded, of: row.source, notes: &notes)
  }

  /// Ids of the prompt that a reply is generated from. A last assistant message is left out.
  /// - Throws: DATA-110, DATA-201, DATA-202.
  public func encodePrompt(_ row: StandardRow) throws(Fault) -> [Int32] {
    try encodePromptRow(row).inputIDs
  }

  /// The prompt with its media, whose patches are not loaded.
  /// - Throws: DATA-110, DATA-201, DATA-202, DATA-401 to DATA-405.
  public func encodePromptRow(_ row: StandardRow) throws(Fault) -> EncodedRow {
    var encoder = TokenEncoder(tokenizer)
    var notes: Set<TemplateNote> = []
    if let ids = row.inputIDs {
      return EncodedRow(inputIDs: ids, labels: ids.map { _ in Self.ignored })
    }
    let media = try options.media.prepare(row)
    let segments = try render(media, isPrompt: true, notes: &notes)
    var encoded = encodeSegments(segments, with: &encoder)
    encoded = try options.media.expand(encoded, with: media)
    return try fit(encoded, of: row.source, notes: &notes)
  }

  /// The text of a row as the model sees it, before it is cut.
  /// - Throws: DATA-201, DATA-202.
  public func renderedText(_ row: StandardRow, isPrompt: Bool = false) throws(Fault) -> String {
    var notes: Set<TemplateNote> = []
    let media = try options.media.prepare(row)
    return try render(media, isPrompt: isPrompt, notes: &notes).map(\.text).joined()
  }

  private func render(
    _ media: PreparedMedia, isPrompt: Bool, notes: inout Set<TemplateNote>
  ) throws(Fault) -> [Segment] {
    let row = media.row
    let builder = ConversationBuilder(options: options, isPrompt: isPrompt, source: row.source)
    let conversation = try builder.build(row)
    if !options.usesChatTemplate && conversation.rounds.count > 1 {
      notes.insert(.earlierRoundsLeftOut)
    }
    let renderer = ConversationRenderer(
      options: options, endText: endText, isPrompt: isPrompt, source: row.source)
    let segments = try renderer.segments(conversation)
    return Segment.joined(try options.media.expand(segments, with: media))
  }
}

/// Something about a row that is no fault but that a user should be told of, once.
public enum TemplateNote: String, Sendable, CaseIterable {
  case earlierRoundsLeftOut = "plain text uses the last question and answer of a row only"
  case nothingTrainedAfterCut = "cutting rows to max_length left some without trained tokens"
  case longerThanAsked = "placeholders of pictures alone exceed max_length in some rows"
}
