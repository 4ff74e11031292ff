import Support

extension ChatTemplate {
  /// Tokenizes each segment by itself and labels what has a weight (data.md section 7).
  func encodeSegments(_ segments: [Segment], with encoder: inout TokenEncoder) -> EncodedRow {
    var ids: [Int32] = []
    var labels: [Int32] = []
    var weights: [Float]? = options.lossScale.isBinary ? nil : []
    for segment in segments {
      let start = ids.count
      encoder.encode(segment.text, into: &ids)
      if segment.weight > 0 {
        labels += ids[start...]
      } else {
        labels += repeatElement(Self.ignored, count: ids.count - start)
      }
      weights? += repeatElement(segment.weight, count: ids.count - start)
    }
    trainTurnEnds(ids, &labels, &weights)
    if !labels.isEmpty { labels[0] = Self.ignored }
    if weights?.isEmpty == false { weights?[0] = 0 }
    return EncodedRow(inputIDs: ids, labels: labels, lossScale: weights)
  }

  /// An end mark right behind a trained reply is trained too, if a trained reply follows.
  private func trainTurnEnds(_ ids: [Int32], _ labels: inout [Int32], _ weights: inout [Float]?) {
    let count = turnEndIDs.count
    var start = 0
    for i in labels.indices.dropFirst() {
      if labels[i - 1] >= 0 && labels[i] == Self.ignored { start = i }
      guard start > 0, labels[i - 1] == Self.ignored, labels[i] >= 0 else { continue }
      let mark = start..<(start + count)
      guard i - start >= count, ids[mark].elementsEqual(turnEndIDs) else { continue }
      labels.replaceSubrange(mark, with: turnEndIDs)
      if weights?[mark].allSatisfy({ $0 == 0 }) == true {
        weights?.replaceSubrange(mark, with: repeatElement(1, count: count))
      }
    }
  }

  /// A row that brings its ids along, checked.
  /// - Throws: DATA-204.
  func ready(_ row: StandardRow) throws(Fault) -> EncodedRow {
    func bad(_ message: String, fix: String) -> Fault {
      Fault(.badTokenRow, message, at: .file(row.source.file, line: row.source.line), fix: fix)
    }
    guard let ids = row.inputIDs, let labels = row.labels, ids.count == labels.count,
      !ids.isEmpty
    else {
      throw bad(
        "input_ids has \(row.inputIDs?.count ?? 0) entries and labels \(row.labels?.count ?? 0)",
        fix: "give both, with one label per token")
    }
    let limit = options.vocabularySize ?? tokenizer.idCount
    for (name, values) in [("input_ids", ids), ("labels", labels)] {
      let isLabel = name == "labels"
      for (i, id) in values.enumerated() {
        if isLabel && id == Self.ignored { continue }
        guard id >= 0, Int(id) < limit else {
          throw bad(
            "\(name)[\(i)] is \(id), the vocabulary ends at \(limit - 1)",
            fix: "use the ids of this model's tokenizer")
        }
      }
    }
    guard !ids.contains(where: placeholderIDs.contains) else {
      throw bad(
        "input_ids holds places of pictures, which cannot be given as ids",
        fix: "give messages and images, so that the row is encoded here")
    }
    var weights: [Float]?
    if let list = row.others["loss_scale"]?.array {
      weights = list.compactMap { $0.double.map { Float($0) } }
      guard weights?.count == ids.count, list.count == ids.count else {
        throw bad(
          "loss_scale has not one number for each of \(ids.count) tokens",
          fix: "give one weight per token, or leave loss_scale away")
      }
    }
    return EncodedRow(inputIDs: ids, labels: labels, lossScale: weights)
  }
}
