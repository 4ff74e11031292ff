import Support

// Rows and batches as bytes that ranks send each other.

extension ByteWriter {
  mutating func add(_ outcome: RowOutcome) {
    switch outcome {
    case .kept(let row, let wasCut, let warnings):
      add(wasCut ? 1 : 0)
      add(row.inputIDs)
      add(row.labels)
      add(optional: row.lossScale)
      add(optional: row.channel)
      add(row.media)
      add(warnings.count)
      for text in warnings { add(text) }
    case .tooLong(let reason):
      add(2)
      add(reason)
    case .bad(let reason):
      add(3)
      add(reason)
    }
  }

  /// Media with their patches, where those were made.
  private mutating func add(_ media: [MediaItem]) {
    add(media.count)
    for item in media {
      var recipe = item
      recipe.stored = nil
      add(recipe.json.write())
      add(optional: item.patches?.bytes)
      add(item.patches?.slots ?? 0)
    }
  }

  mutating func add(_ batch: PackedBatch) {
    add(batch.inputIDs)
    add(batch.labels)
    add(optional: batch.lossScale)
    add(batch.positions)
    add(batch.cuSeqlens)
    add(batch.channels.count)
    for channel in batch.channels { add(optional: channel) }
    add(batch.sampleCount)
    add(batch.media)
  }
}

extension ByteReader {
  mutating func outcome() throws(Fault) -> RowOutcome {
    let kind = try number()
    guard kind < 2 else {
      let reason = try text()
      return kind == 2 ? .tooLong(reason: reason) : .bad(reason: reason)
    }
    var row = EncodedRow(
      inputIDs: try list(of: Int32.self), labels: try list(of: Int32.self),
      lossScale: try optionalList(of: Float.self), channel: try optionalText())
    row.media = try media()
    var warnings: [String] = []
    for _ in 0..<(try number()) { warnings.append(try text()) }
    return .kept(row, wasCut: kind == 1, warnings: warnings)
  }

  private mutating func media() throws(Fault) -> [MediaItem] {
    var media: [MediaItem] = []
    for _ in 0..<(try number()) {
      guard let json = try? JSONValue.parse(try text()),
        var item = MediaItem(json, path: "", array: "")
      else { throw Fault(.internalError, "a medium of another rank cannot be understood") }
      let bytes = try optionalList(of: UInt8.self)
      let slots = try number()
      item.patches = bytes.map { MediaPatches(bytes: $0, slots: slots) }
      media.append(item)
    }
    return media
  }

  mutating func batch() throws(Fault) -> PackedBatch {
    var batch = PackedBatch(
      inputIDs: try list(of: Int32.self), labels: try list(of: Int32.self),
      lossScale: try optionalList(of: Float.self), positions: try list(of: Int32.self),
      cuSeqlens: try list(of: Int32.self), channels: [], sampleCount: 0)
    for _ in 0..<(try number()) { batch.channels.append(try optionalText()) }
    batch.sampleCount = try number()
    batch.media = try media()
    return batch
  }
}
