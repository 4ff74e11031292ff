import Support

extension ChatTemplate {
  /// Pads to the length multiple, then holds the row to `max_length` (data.md section 8).
  /// - Throws: DATA-110 if the row is too long and not to be cut.
  func fit(
    _ row: EncodedRow, of source: StandardRow.Source, notes: inout Set<TemplateNote>
  ) throws(Fault) -> EncodedRow {
    var row = row
    pad(&row)
    guard let limit = options.maxLength, row.inputIDs.count > limit else { return row }
    switch options.truncation {
    case .delete:
      throw Fault(
        .rowTooLong, "row has \(row.inputIDs.count) tokens, max_length is \(limit)",
        at: .file(source.file, line: source.line),
        fix: "give a larger --max_length, or --truncation_strategy left or right")
    case .left, .right: break
    }
    let kept = keptPlaces(row.inputIDs, limit: limit)
    row.inputIDs = kept.map { row.inputIDs[$0] }
    row.labels = kept.map { row.labels[$0] }
    row.lossScale = row.lossScale.map { weights in kept.map { weights[$0] } }
    if row.inputIDs.count > limit { notes.insert(.longerThanAsked) }
    if row.labels.allSatisfy({ $0 == Self.ignored }) { notes.insert(.nothingTrainedAfterCut) }
    return row
  }

  private func pad(_ row: inout EncodedRow) {
    let excess = row.inputIDs.count % max(options.lengthMultiple, 1)
    guard excess > 0, let padID = tokenizer.padID else { return }
    let count = options.lengthMultiple - excess
    row.inputIDs += repeatElement(padID, count: count)
    row.labels += repeatElement(Self.ignored, count: count)
    row.lossScale? += repeatElement(0, count: count)
  }

  /// Placeholders of pictures always stay; the other places are filled from the kept side.
  private func keptPlaces(_ ids: [Int32], limit: Int) -> [Int] {
    let isPlaceholder = ids.map { placeholderIDs.contains($0) }
    let others = ids.indices.filter { !isPlaceholder[$0] }
    let room = max(limit - (ids.count - others.count), 0)
    let chosen = options.truncation == .left ? others.suffix(room) : others.prefix(room)
    var keep = isPlaceholder
    for place in chosen { keep[place] = true }
    return ids.indices.filter { keep[$0] }
  }
}
