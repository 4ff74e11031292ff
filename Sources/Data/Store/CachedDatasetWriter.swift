import Foundation
import Support

/// Encodes data into one file (`megatron-export --to_cached_dataset`).
///
/// Rows are encoded in blocks that lie beside the file until it is complete, so that an interrupted
/// pass goes on where it was; a block is found again by the digest of its rows and settings.
public struct CachedDatasetWriter: Sendable {
  /// Name of the file in a folder.
  public static let fileName = "cached_dataset.h5"

  let path: String
  /// Folder of the blocks that are done, until all are.
  let parts: String
  /// Whether patches are stored too, or only where the media lie.
  let keepsPatches: Bool

  public init(path: String, parts: String, keepsPatches: Bool) {
    self.path = path
    self.parts = parts
    self.keepsPatches = keepsPatches
  }

  /// - Returns: what became of the rows, and lines about both sets.
  /// - Throws: as `DatasetPlan.prepare`; `FILE-003`.
  public func write(
    options: DataOptions, encode: @escaping RowEncoding, media: (any MediaLoading)? = nil
  ) throws(Fault) -> (report: DataReport, lines: [String]) {
    var options = options
    options.encoding.cacheFolder = parts
    let log = ReportLog()
    let encoder = DatasetPlan.encoder(options, encode: encode, media: media, log: log)
    let sets = try DatasetPlan.readSets(options, encoder: encoder, log: log)
    let pass = EncodePass(
      encoder: encoder, threads: options.rows.threads, seed: options.order.seed)
    let outcomes = try sets.outcomes(by: pass)
    // Stored patches need no media.
    let record = try MediaRecord(
      of: zip(sets.train.rows + sets.validation.rows, outcomes.train + outcomes.validation).map {
        StoredRow(outcome: $1, source: $0.source)
      }, media: keepsPatches ? nil : media)
    let own = parts + "/whole.h5"
    try Folder.make(parts)
    let file = try ArrayFile(creating: own)
    var lines: [String] = []
    do throws(Fault) {
      try file.append("format", text: CachedDataset.format)
      try file.append("about", text: about(options, sets, record).write())
      for (prefix, set, outcomes) in [
        (CachedDataset.training, sets.train, outcomes.train),
        (CachedDataset.validation, sets.validation, outcomes.validation),
      ] where !set.order.isEmpty {
        lines.append(try write(set, outcomes, prefix, pass, to: file))
      }
      try file.close()
      try Folder.make(Folder.parent(path))
      try Folder.rename(own, to: path)
    } catch {
      try? Folder.remove(own)
      throw error
    }
    try Folder.remove(parts)
    return (log.snapshot, lines)
  }

  private func write(
    _ set: RowSet, _ outcomes: [RowOutcome], _ prefix: String, _ pass: EncodePass,
    to file: ArrayFile
  ) throws(Fault) -> String {
    for (row, outcome) in zip(set.rows, outcomes) { pass.encoder.record(outcome, of: row.source) }
    var rows = zip(set.rows, outcomes).map { StoredRow(outcome: $1, source: $0.source) }
    let arrays = EncodedArrays(file: file, prefix: prefix)
    if keepsPatches { try storePatches(of: &rows, pass.encoder, arrays) }
    var start = 0
    while start < rows.count {
      let end = min(start + EncodedCache.blockRows, rows.count)
      try arrays.append(Array(rows[start..<end]))
      start = end
    }
    let lengths = rows.map(\.outcome.tokens)
    let order = set.order.filter { lengths[$0] != nil }
    guard !order.isEmpty else { throw pass.noRows(set, outcomes, name: prefix) }
    try file.append(prefix + "/order", order.map { Int64($0) })
    let counts = order.compactMap { lengths[$0] }
    let total = counts.reduce(0, +)
    guard let capacity = pass.encoder.options.capacity else {
      return "\(prefix): \(order.count) rows, \(total) tokens"
    }
    let packs = Packing.packs(lengths: counts, capacity: capacity).map { $0.map { order[$0] } }
    var ends: [Int64] = []
    for pack in packs { ends.append((ends.last ?? 0) + Int64(pack.count)) }
    try file.append(prefix + "/packs", packs.flatMap { $0 }.map { Int64($0) })
    try file.append(prefix + "/pack_ends", ends)
    try file.append(prefix + "/capacity", [Int64(capacity)])
    return "\(prefix): \(order.count) rows, \(total) tokens, \(packs.count) packs of \(capacity)"
  }

  private func storePatches(
    of rows: inout [StoredRow], _ encoder: RowEncoder, _ arrays: EncodedArrays
  ) throws(Fault) {
    var place = 0
    for i in rows.indices {
      guard case .kept(var row, let wasCut, let warnings) = rows[i].outcome, !row.media.isEmpty
      else { continue }
      let loaded = try encoder.loaded(row)
      for (k, item) in loaded.media.enumerated() {
        guard let patches = item.patches else { continue }
        try arrays.file.append(arrays.patchesName, patches.bytes)
        let end = place + patches.bytes.count
        row.media[k].stored = StoredPatches(
          path: path, array: arrays.patchesName, place: place..<end, slots: patches.slots)
        place = end
      }
      rows[i].outcome = .kept(row, wasCut: wasCut, warnings: warnings)
    }
  }

  /// What the rows were made from.
  private func about(
    _ options: DataOptions, _ sets: RowSets, _ record: MediaRecord
  ) throws(Fault) -> JSONValue {
    var parts = JSONObject()
    for part in options.encoding.parts { parts[part.name] = .string(part.text) }
    let paths = Set((sets.train.rows + sets.validation.rows).map(\.source.file)).sorted()
    var sources: [JSONValue] = []
    for path in paths where Folder.kind(path) == .file {
      let whole = path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
      sources.append(
        .object(
          JSONObject([
            ("path", .string(whole)), ("size", JSONValue(Folder.fileSize(path) ?? 0)),
            ("state", .string(FileState.text(whole))),
            ("sha256", .string(try FileState.digest(path))),
          ])))
    }
    return .object(
      JSONObject([
        ("parts", .object(parts)), ("sources", .array(sources)), ("media", record.json),
      ]))
  }
}

extension RowOutcome {
  /// Tokens of a row that was kept.
  var tokens: Int? {
    if case .kept(let row, _, _) = self { return row.inputIDs.count }
    return nil
  }
}
