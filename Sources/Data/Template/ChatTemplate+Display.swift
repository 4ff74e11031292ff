extension ChatTemplate {
  /// One row for the log: `[INPUT_IDS]`, `[INPUT]`, `[LABELS_IDS]`, `[LABELS]` and, if weights
  /// are kept, `[LOSS_SCALE]`. Runs of ignored labels and of placeholders are `[tok * n]`.
  public func display(_ row: EncodedRow) -> [String] {
    var lines = [
      "[INPUT_IDS] \(row.inputIDs)", "[INPUT] " + shown(row.inputIDs),
      "[LABELS_IDS] \(row.labels)", "[LABELS] " + shown(row.labels),
    ]
    if let weights = row.lossScale { lines.append("[LOSS_SCALE] \(weights)") }
    lines.append("[TRAINED] " + marked(row))
    lines += row.media.map { item in
      let grid = "\(item.grid.t)×\(item.grid.h)×\(item.grid.w) patches"
      return "[MEDIA] \(item.isClip ? "clip" : "picture") \(item.name): \(grid)"
    }
    return lines
  }

  /// The text with each trained run between « and ».
  func marked(_ row: EncodedRow) -> String {
    var result = ""
    var at = 0
    for span in row.trainedSpans {
      result += shown(Array(row.inputIDs[at..<span[0]]))
      result += "«" + shown(Array(row.inputIDs[span[0]..<span[1]])) + "»"
      at = span[1]
    }
    return result + shown(Array(row.inputIDs[at...]))
  }

  /// Text of ids in which each run of what is no text is `[tok * n]`.
  public func shown(_ ids: [Int32]) -> String {
    var result = ""
    var at = 0
    while at < ids.count {
      let isMark = isMark(ids[at])
      let end = ids[at...].firstIndex { self.isMark($0) != isMark } ?? ids.count
      if isMark {
        result += "[\(ids[at]) * \(end - at)]"
      } else {
        result += tokenizer.decode(ids[at..<end])
      }
      at = end
    }
    return result
  }

  private func isMark(_ id: Int32) -> Bool { id < 0 || placeholderIDs.contains(id) }

  /// The reply that generated ids stand for: without the end mark, and with what the prompt
  /// already began of it (`<think>` of models that always reason).
  public func reply(_ generated: [Int32]) -> String {
    var ids = generated[...]
    if let end = tokenizer.endID, ids.last == end { ids = ids.dropLast() }
    if options.usesChatTemplate, ids.suffix(turnEndIDs.count).elementsEqual(turnEndIDs) {
      ids = ids.dropLast(turnEndIDs.count)
    }
    return (options.responsePrefix ?? options.template.responsePrefix) + tokenizer.decode(ids)
  }

  /// Ids that end a reply: the end of a turn, and `<|endoftext|>` if the tokenizer has it.
  public var stopIDs: Set<Int32> {
    var ids = Set([tokenizer.endID, tokenizer.id(of: "<|endoftext|>")].compactMap { $0 })
    if turnEndIDs.count == 1 { ids.formUnion(turnEndIDs) }
    return ids
  }
}
