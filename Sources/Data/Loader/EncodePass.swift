import Support

/// Rows and the order they are used in; a row that repeats stands once in `rows`.
struct RowSet: Sendable {
  var rows: [StandardRow] = []
  var order: [Int] = []

  /// The rows in the order they are used.
  var inOrder: [StandardRow] { order.map { rows[$0] } }
}

/// Encodes a whole set before training.
struct EncodePass: Sendable {
  let encoder: RowEncoder
  let threads: Int
  /// `--data_seed`, for the order of replacement.
  let seed: Int

  /// The set as samples: rows that could be encoded, packed if asked for.
  /// - Throws: `DATA-103` if none is left.
  func samples(of set: RowSet, name: String) throws(Fault) -> EagerSamples {
    let outcomes = try outcomes(of: set.rows)
    var kept: [EncodedRow] = []
    var sources: [StandardRow.Source] = []
    var places = [Int?](repeating: nil, count: outcomes.count)
    for (i, outcome) in outcomes.enumerated() {
      encoder.record(outcome, of: set.rows[i])
      if case .kept(let row, _, _) = outcome {
        places[i] = kept.count
        kept.append(row)
        sources.append(set.rows[i].source)
      }
    }
    let order = set.order.compactMap { places[$0] }
    guard !order.isEmpty else { throw noRows(set, outcomes, name: name) }
    let samples = pack(order, kept)
    return EagerSamples(
      rows: kept, sources: sources, samples: samples, encoder: encoder,
      replacements: ReplacementOrder(count: samples.count, seed: seed))
  }

  private func pack(_ order: [Int], _ rows: [EncodedRow]) -> [[Int]] {
    guard let capacity = encoder.options.capacity else { return order.map { [$0] } }
    let lengths = order.map { rows[$0].inputIDs.count }
    return Packing.packs(lengths: lengths, capacity: capacity).map { $0.map { order[$0] } }
  }

  private func outcomes(of rows: [StandardRow]) throws(Fault) -> [RowOutcome] {
    // Entries hold tokens only.
    let hasMedia = rows.contains { !$0.images.isEmpty || !$0.videos.isEmpty }
    guard let folder = encoder.options.cacheFolder, !hasMedia else { return try encodeAll(rows) }
    let cache = EncodedCache(folder: folder)
    let key = EncodedCache.key(rows: rows, encoder: encoder)
    if let stored = cache.load(key), stored.count == rows.count { return stored }
    let fresh = try encodeAll(rows)
    do throws(Fault) {
      try cache.store(fresh, key: key)
    } catch {
      // A cache that cannot be kept costs time, not results.
      encoder.log.update { $0.note(error.reason) }
    }
    return fresh
  }

  private func encodeAll(_ rows: [StandardRow]) throws(Fault) -> [RowOutcome] {
    let results = parallelMap(count: rows.count, threads: threads) {
      index -> Result<RowOutcome, Fault> in
      do throws(Fault) { return .success(try encoder.outcome(rows[index])) } catch {
        return .failure(error)
      }
    }
    var outcomes: [RowOutcome] = []
    // The first fault in the order of the rows, whichever thread met one first.
    for result in results {
      switch result {
      case .success(let outcome): outcomes.append(outcome)
      case .failure(let fault): throw fault
      }
    }
    return outcomes
  }

  private func noRows(_ set: RowSet, _ outcomes: [RowOutcome], name: String) -> Fault {
    var reasons: [String] = []
    for (row, outcome) in zip(set.rows, outcomes) {
      switch outcome {
      case .kept: continue
      case .tooLong(let reason), .bad(let reason):
        reasons.append("\(row.source.file):\(row.source.line): \(reason)")
      }
    }
    return Fault(
      .noRows, "no rows left in the \(name) data: \(outcomes.count) were read, none can be used",
      found: reasons.isEmpty ? nil : reasons.prefix(DataReport.textLimit).joined(separator: "; "),
      fix: "mend the rows named here")
  }
}
