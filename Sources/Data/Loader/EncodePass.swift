import Support

/// Encodes a whole set before training.
struct EncodePass: Sendable {
  let encoder: RowEncoder
  let threads: Int
  /// `--data_seed`, for the order of replacement.
  let seed: Int
  /// Ranks that encode a share of the rows each.
  var peers: (any RankPeers)?

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
  /// - Parameters:
  ///   - outcomes: what became of the rows of the set.
  ///   - cached: sets that were encoded before; they follow the others.
  /// - Throws: `DATA-103` if none is left.
  func samples(
    of set: RowSet, _ outcomes: [RowOutcome], cached: [CachedRows] = [], name: String
  ) throws(Fault) -> EagerSamples {
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

  /// Rows that are encoded between two exchanges.
  private static let sharedRows = 16_384

  /// What becomes of each row, from the cache where it is there. Blocks are stored as they are
  /// done, so that a pass that was interrupted goes on.
  /// - Throws: faults that are not of a row; with `--strict` that of the first bad row.
  /// - Communication: with peers, one gather for each block of rows.
  func outcomes(of rows: [StandardRow]) throws(Fault) -> [RowOutcome] {
    let cache = encoder.options.cacheFolder.map { EncodedCache(folder: $0) }
    let step = cache == nil ? Self.sharedRows : EncodedCache.blockRows
    var outcomes: [RowOutcome] = []
    while outcomes.count < rows.count {
      let block = rows[outcomes.count..<min(outcomes.count + step, rows.count)]
      if let cache {
        outcomes += try cached(block, cache)
      } else {
        outcomes += try encodeAll(block)
      }
    }
    return outcomes
  }

  private func cached(
    _ rows: ArraySlice<StandardRow>, _ cache: EncodedCache
  ) throws(Fault) -> [RowOutcome] {
    let key = EncodedCache.key(rows: rows, encoder: encoder)
    var stored = cache.load(key)
    if stored?.count != rows.count { stored = nil }
    if let peers = peers.several {
      return try shared(stored, of: rows, among: peers) { (block) throws(Fault) in
        try cache.store(block, key: key)
      }
    }
    if let stored { return stored }
    let fresh = try encodeAll(rows)
    keep(fresh, of: rows) { (block) throws(Fault) in try cache.store(block, key: key) }
    return fresh
  }

  /// Ranks that found a block give it to those that did not; only if none has it, it is encoded.
  private func shared(
    _ stored: [RowOutcome]?, of rows: ArraySlice<StandardRow>, among peers: any RankPeers,
    _ store: ([StoredRow]) throws(Fault) -> Void
  ) throws(Fault) -> [RowOutcome] {
    let found = try peers.gather([stored == nil ? 0 : 1])
    if let stored, found.allSatisfy({ $0 == [1] }) { return stored }
    let outcomes: [RowOutcome]
    if let owner = found.firstIndex(of: [1]) {
      var reader = ByteReader(
        try peers.share(from: owner) { () throws(Fault) -> [UInt8] in
          var writer = ByteWriter()
          for outcome in stored ?? [] { writer.add(outcome) }
          return writer.bytes
        })
      var given: [RowOutcome] = []
      for _ in rows { given.append(try reader.outcome()) }
      outcomes = given
    } else {
      outcomes = try encodeAll(rows)
    }
    if stored == nil, peers.leadsNode { keep(outcomes, of: rows, store) }
    return outcomes
  }

  private func keep(
    _ outcomes: [RowOutcome], of rows: ArraySlice<StandardRow>,
    _ store: ([StoredRow]) throws(Fault) -> Void
  ) {
    do throws(Fault) {
      try store(zip(rows, outcomes).map { StoredRow(outcome: $1, source: $0.source) })
    } catch {
      // A cache that cannot be kept costs time, not results.
      encoder.log.update { $0.note(error.reason) }
    }
  }

  private func encodeAll(_ rows: ArraySlice<StandardRow>) throws(Fault) -> [RowOutcome] {
    guard let peers = peers.several else {
      let (outcomes, fault) = encodeShare(Array(rows))
      if let fault { throw fault }
      return outcomes
    }
    // Rows of a kind stand together in files, so the shares are interleaved.
    let own = stride(from: rows.startIndex + peers.rank, to: rows.endIndex, by: peers.size)
    let (outcomes, fault) = encodeShare(own.map { rows[$0] })
    var writer = ByteWriter()
    writer.add(outcomes.count)
    for outcome in outcomes { writer.add(outcome) }
    return try joined(
      try peers.gather(writer.bytes), count: rows.count, peers: peers, fault: fault)
  }

  /// Outcomes in order up to the first fault, and that fault.
  private func encodeShare(_ rows: [StandardRow]) -> ([RowOutcome], Fault?) {
    let encoder = encoder
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
      case .failure(let fault): return (outcomes, fault)
      }
    }
    return (outcomes, nil)
  }

  /// The shares of all ranks as one list.
  /// - Parameter fault: what ended the share of this rank.
  /// - Throws: on all ranks the fault of the first row that has one.
  private func joined(
    _ shares: [[UInt8]], count: Int, peers: any RankPeers, fault: Fault?
  ) throws(Fault) -> [RowOutcome] {
    var readers = shares.map { ByteReader($0) }
    var left: [Int] = []
    for rank in readers.indices { left.append(try readers[rank].number()) }
    var outcomes: [RowOutcome] = []
    for row in 0..<count {
      let rank = row % shares.count
      guard left[rank] > 0 else {
        try peers.agree(rank == peers.rank ? fault : nil)
        throw Fault(.internalError, "rank \(rank) did not encode all rows of its share")
      }
      outcomes.append(try readers[rank].outcome())
      left[rank] -= 1
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
