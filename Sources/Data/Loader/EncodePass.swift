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

  /// Rows that can be used, gathered from files and from encoded data sets.
  private struct Gathering {
    var rows: [EncodedRow] = []
    var sources: [StandardRow.Source] = []
    var order: [Int] = []

    /// - Returns: the new place of each row, nil for those that are left out.
    mutating func add(_ stored: [StoredRow], order used: [Int]) -> [Int?] {
      let places = stored.map { row -> Int? in
        guard case .kept(let encoded, _, _) = row.outcome else { return nil }
        rows.append(encoded)
        sources.append(row.source)
        return rows.count - 1
      }
      order += used.compactMap { places[$0] }
      return places
    }
  }

  /// The set as samples: rows that could be encoded, packed if asked for.
  /// - Parameter cached: sets that were encoded before; they follow the others.
  /// - Throws: `DATA-103` if none is left.
  func samples(
    of set: RowSet, cached: [CachedRows] = [], name: String
  ) throws(Fault) -> EagerSamples {
    let outcomes = try outcomes(of: set.rows)
    var all = Gathering()
    let own = zip(set.rows, outcomes).map { StoredRow(outcome: $1, source: $0.source) }
    for row in own { encoder.record(row.outcome, of: row.source) }
    _ = all.add(own, order: set.order)
    var plan: [[Int]]?
    for part in cached {
      var rows: [StoredRow] = []
      for row in part.rows {
        rows.append(StoredRow(outcome: try encoder.refit(row), source: row.source))
        encoder.log.update { $0.update(row.source.file) { $0.read += 1 } }
        encoder.record(rows[rows.count - 1].outcome, of: row.source)
      }
      let places = all.add(rows, order: part.order)
      // The plan that was stored is the one that would be made, if nothing else changed.
      let isSame = rows == part.rows && part.capacity == encoder.options.capacity
      if cached.count == 1, set.rows.isEmpty, isSame, !part.packs.isEmpty {
        plan = part.packs.map { $0.compactMap { places[$0] } }
      }
    }
    guard !all.order.isEmpty else { throw noRows(set, outcomes, name: name) }
    let samples = plan ?? pack(all.order, all.rows)
    return EagerSamples(
      rows: all.rows, sources: all.sources, samples: samples, encoder: encoder,
      replacements: ReplacementOrder(count: samples.count, seed: seed))
  }

  private func pack(_ order: [Int], _ rows: [EncodedRow]) -> [[Int]] {
    guard let capacity = encoder.options.capacity else { return order.map { [$0] } }
    let lengths = order.map { rows[$0].inputIDs.count }
    return Packing.packs(lengths: lengths, capacity: capacity).map { $0.map { order[$0] } }
  }

  /// What becomes of each row, from the cache where it is there. Blocks are stored as they are
  /// done, so that a pass that was interrupted goes on.
  func outcomes(of rows: [StandardRow]) throws(Fault) -> [RowOutcome] {
    guard let folder = encoder.options.cacheFolder else { return try encodeAll(rows[...]) }
    let cache = EncodedCache(folder: folder)
    var outcomes: [RowOutcome] = []
    while outcomes.count < rows.count {
      let end = min(outcomes.count + EncodedCache.blockRows, rows.count)
      outcomes += try block(rows[outcomes.count..<end], cache)
    }
    return outcomes
  }

  private func block(
    _ rows: ArraySlice<StandardRow>, _ cache: EncodedCache
  ) throws(Fault) -> [RowOutcome] {
    let key = EncodedCache.key(rows: rows, encoder: encoder)
    if let stored = cache.load(key), stored.count == rows.count { return stored }
    let fresh = try encodeAll(rows)
    do throws(Fault) {
      try cache.store(
        zip(rows, fresh).map { StoredRow(outcome: $1, source: $0.source) }, key: key)
    } catch {
      // A cache that cannot be kept costs time, not results.
      encoder.log.update { $0.note(error.reason) }
    }
    return fresh
  }

  private func encodeAll(_ rows: ArraySlice<StandardRow>) throws(Fault) -> [RowOutcome] {
    let rows = Array(rows)
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

  func noRows(_ set: RowSet, _ outcomes: [RowOutcome], name: String) -> Fault {
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
