extension ModelRow {
  /// Adds the losses of each document to the sums of its channel (`None` without one).
  ///
  /// A token's loss belongs to the document of the token that predicts it.
  func addChannels(_ perToken: [Float], to sums: inout [String: (sum: Double, count: Int)]) {
    for (document, channel) in channels.enumerated() where document + 1 < documentStarts.count {
      let range = Int(documentStarts[document])..<Int(documentStarts[document + 1])
      var entry = sums[channel ?? "None"] ?? (0, 0)
      for t in range where input.labels.shifted[t] != -100 {
        entry.sum += Double(perToken[t])
        entry.count += 1
      }
      sums[channel ?? "None"] = entry
    }
  }
}
