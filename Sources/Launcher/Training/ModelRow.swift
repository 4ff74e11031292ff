import DataPipeline
import Model
import Parallel
import Support
import Tensor

/// A micro-batch made ready for the model: labels shifted, rows padded where the layout needs it.
struct ModelRow {
  let input: TextInput
  let layout: SequenceLayout
  /// Tokens before padding.
  let realTokens: Int
  let trainedTokens: Int
  /// Starts of the documents, without the padding's.
  let documentStarts: [Int32]
  /// Channel of each document.
  let channels: [String?]

  /// - Parameters:
  ///   - batch: labels beside their tokens, not shifted.
  ///   - multiple: rows are padded to a multiple of it; every padding token is a document of its
  ///     own, with label −100 and position 0.
  ///   - paddedSequences: samples of a padded batch, or nil for packed rows.
  ///   - vision: for a model with a tower; places its tokens on three axes.
  /// - Throws: `DATA-301` for an id or a label outside the vocabulary; `MODEL-104` for placeholders
  ///   that do not fit the pictures.
  init(
    _ batch: PackedBatch, multiple: Int, padID: Int32, vocabulary: Int,
    paddedSequences: [Range<Int>]? = nil, scalesByProbability: Bool = false,
    vision: RowVision? = nil, on engine: Engine
  ) throws(Fault) {
    let t = batch.inputIDs.count
    let padding = (multiple - t % multiple) % multiple
    try ModelRow.check(batch.inputIDs, vocabulary, "token id")
    let shifted = Array(batch.labels.dropFirst()) + batch.labels.prefix(1)
    try ModelRow.check(shifted.filter { $0 != -100 }, vocabulary, "label")
    let weights = batch.lossScale.map { Array($0.dropFirst()) + $0.prefix(1) }
    let ids = batch.inputIDs + [Int32](repeating: padID, count: padding)
    let starts = batch.cuSeqlens + (0..<padding).map { Int32(t + $0 + 1) }
    input = TextInput(
      ids: try Tensor(ids, on: engine),
      positions: batch.positions + [Int32](repeating: 0, count: padding),
      labels: .init(
        shifted: shifted + [Int32](repeating: -100, count: padding),
        weights: weights.map { $0 + [Float](repeating: 0, count: padding) },
        scalesByProbability: scalesByProbability),
      axes: try vision?.positions(ids: ids, starts: starts), vision: vision?.pictures)
    layout = try SequenceLayout(
      starts: starts, realTokens: t, paddedSequences: paddedSequences, on: engine)
    realTokens = t
    trainedTokens = shifted.count { $0 != -100 }
    documentStarts = batch.cuSeqlens
    channels = batch.channels
  }

  private static func check(_ ids: [Int32], _ vocabulary: Int, _ what: String) throws(Fault) {
    guard let bad = ids.first(where: { $0 < 0 || $0 >= vocabulary }) else { return }
    throw Fault(
      .idOutsideVocabulary, "\(what) \(bad) is outside the vocabulary",
      expected: "0 to \(vocabulary - 1)",
      fix: "use the tokenizer that belongs to the model")
  }

  /// What rows are padded to: with sequence parallelism every rank holds whole canonical runs.
  static func multiple(tp: Int, sequenceParallel: Bool) -> Int {
    guard sequenceParallel, tp > 1 else { return 1 }
    var multiple = CanonicalOrder.chunkCount
    while multiple % tp != 0 { multiple += CanonicalOrder.chunkCount }
    return multiple
  }
}

/// What a model with a tower needs of a row beside its tokens.
struct RowVision {
  let config: VisionConfig
  /// Pictures and clips in order of appearance; nil for a row of text.
  let pictures: VisionInput?

  /// nil for a row of text, whose positions are the same on all axes.
  func positions(ids: [Int32], starts: [Int32]) throws(Fault) -> AxisPositions? {
    guard let pictures else { return nil }
    return try AxisPositions(
      ids: ids, grids: pictures.grids, documentStarts: starts, config: config)
  }
}

extension FaultCode {
  static let idOutsideVocabulary = FaultCode(
    "DATA-301", .badData, "a token id or label is outside the model's vocabulary")
}
