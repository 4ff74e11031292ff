import Support

/// What became of a row, and where it was read.
struct StoredRow: Sendable, Equatable {
  var outcome: RowOutcome
  var source: StandardRow.Source
}

/// Encoded rows as arrays of a file, all under one prefix:
///
///     tokens, labels   [t] of all rows          offsets        [rows + 1] where each begins
///     weights          [..] of rows that have    weight_offsets [rows + 1]
///     notes            JSON of each row          note_offsets   [rows + 1]
struct EncodedArrays {
  let file: ArrayFile
  let prefix: String

  private func name(_ array: String) -> String { prefix + "/" + array }
  var patchesName: String { name("patches") }

  /// Appends rows; may be called several times.
  /// - Throws: `FILE-003`.
  func append(_ rows: [StoredRow]) throws(Fault) {
    var tokens: [Int32] = []
    var labels: [Int32] = []
    var weights: [Float] = []
    var notes: [UInt8] = []
    var ends: [Int64] = []
    var weightEnds: [Int64] = []
    var noteEnds: [Int64] = []
    let starts = try beginnings()
    for row in rows {
      if case .kept(let encoded, _, _) = row.outcome {
        tokens += encoded.inputIDs
        labels += encoded.labels
        weights += encoded.lossScale ?? []
      }
      notes += Array(note(row).write().utf8)
      ends.append(starts.tokens + Int64(tokens.count))
      weightEnds.append(starts.weights + Int64(weights.count))
      noteEnds.append(starts.notes + Int64(notes.count))
    }
    try file.append(name("tokens"), tokens)
    try file.append(name("labels"), labels)
    try file.append(name("weights"), weights)
    try file.append(name("notes"), notes)
    try file.append(name("offsets"), ends)
    try file.append(name("weight_offsets"), weightEnds)
    try file.append(name("note_offsets"), noteEnds)
  }

  /// Elements that are there already; the first call writes the leading zeros of the offsets.
  private func beginnings() throws(Fault) -> (tokens: Int64, weights: Int64, notes: Int64) {
    guard let tokens = try file.count(name("tokens")) else {
      for array in ["offsets", "weight_offsets", "note_offsets"] {
        try file.append(name(array), [Int64(0)])
      }
      return (0, 0, 0)
    }
    let weights = try file.count(name("weights")) ?? 0
    let notes = try file.count(name("notes")) ?? 0
    return (Int64(tokens), Int64(weights), Int64(notes))
  }

  private func note(_ row: StoredRow) -> JSONValue {
    var object = JSONObject([
      ("file", .string(row.source.file)), ("line", JSONValue(row.source.line)),
    ])
    switch row.outcome {
    case .kept(let encoded, let wasCut, let warnings):
      if wasCut { object["cut"] = .bool(true) }
      if encoded.lossScale != nil { object["weighted"] = .bool(true) }
      object["channel"] = encoded.channel.map { .string($0) }
      if !warnings.isEmpty { object["warnings"] = .array(warnings.map { .string($0) }) }
      if !encoded.media.isEmpty { object["media"] = .array(encoded.media.map(\.json)) }
    case .tooLong(let reason): object["too_long"] = .string(reason)
    case .bad(let reason): object["bad"] = .string(reason)
    }
    return .object(object)
  }

  /// All rows.
  /// - Throws: `DATA-501` if arrays are missing, damaged or do not fit together.
  func rows() throws(Fault) -> [StoredRow] {
    let tokens = try file.read(name("tokens"), as: Int32.self)
    let labels = try file.read(name("labels"), as: Int32.self)
    let weights = try file.read(name("weights"), as: Float.self)
    let notes = try file.read(name("notes"), as: UInt8.self)
    let offsets = try places("offsets", end: tokens.count)
    let weightOffsets = try places("weight_offsets", end: weights.count)
    let noteOffsets = try places("note_offsets", end: notes.count)
    guard labels.count == tokens.count, offsets.count == weightOffsets.count,
      offsets.count == noteOffsets.count
    else { throw damaged("its arrays do not fit together") }
    var rows: [StoredRow] = []
    for (i, place) in offsets.enumerated() {
      let text = String(decoding: notes[noteOffsets[i]], as: UTF8.self)
      guard let note = try? JSONValue.parse(text) else { throw damaged("note \(i) is no JSON") }
      var encoded = EncodedRow(
        inputIDs: Array(tokens[place]), labels: Array(labels[place]),
        channel: note["channel"]?.string)
      if note["weighted"]?.bool == true { encoded.lossScale = Array(weights[weightOffsets[i]]) }
      rows.append(try row(encoded, note, number: i))
    }
    return rows
  }

  private func row(
    _ encoded: EncodedRow, _ note: JSONValue, number: Int
  ) throws(Fault) -> StoredRow {
    var encoded = encoded
    let source = StandardRow.Source(
      file: note["file"]?.string ?? file.path, line: note["line"]?.int ?? number + 1)
    if let reason = note["too_long"]?.string {
      return StoredRow(outcome: .tooLong(reason: reason), source: source)
    }
    if let reason = note["bad"]?.string {
      return StoredRow(outcome: .bad(reason: reason), source: source)
    }
    for value in note["media"]?.array ?? [] {
      guard let item = MediaItem(value, path: file.path, array: patchesName) else {
        throw damaged("the media of row \(number) cannot be understood")
      }
      encoded.media.append(item)
    }
    let weights = encoded.lossScale?.count ?? encoded.labels.count
    guard !encoded.inputIDs.isEmpty, weights == encoded.labels.count else {
      throw damaged("row \(number) has \(encoded.inputIDs.count) tokens and \(weights) weights")
    }
    let warnings = (note["warnings"]?.array ?? []).compactMap(\.string)
    return StoredRow(
      outcome: .kept(encoded, wasCut: note["cut"]?.bool ?? false, warnings: warnings),
      source: source)
  }

  /// The stretches between offsets that must rise from 0 to `end`.
  private func places(_ array: String, end: Int) throws(Fault) -> [Range<Int>] {
    let list = try file.read(name(array), as: Int64.self)
    guard list.first == 0, list.last == Int64(end),
      zip(list, list.dropFirst()).allSatisfy({ $0 <= $1 })
    else { throw damaged("\(array) do not rise to \(end)") }
    return zip(list, list.dropFirst()).map { Int($0)..<Int($1) }
  }

  private func damaged(_ what: String) -> Fault {
    Fault(
      .badStore, "the encoded rows are damaged: \(what)", at: .file(file.path),
      fix: "write them again")
  }
}
