import Support

/// What was read of a data set.
struct LoadedRows: Sendable {
  var rows: [StandardRow] = []
  /// With `--strict`, the fault of the first row that cannot be used; `rows` are those before it.
  var fault: Fault?
}

/// Reads whole data sets into memory.
struct RowLoader: Sendable {
  let options: RowOptions
  let log: ReportLog

  /// All good rows of a data set, in the order of its files.
  /// - Throws: what parsing throws; `DATA-103` if the files hold no rows.
  func rows(of source: DatasetSource) throws(Fault) -> LoadedRows {
    var loaded = LoadedRows()
    var read = 0
    for part in source.parts {
      let raw = try rawRows(of: part)
      read += raw.count
      guard !raw.isEmpty else { continue }
      try standardize(raw, of: part, into: &loaded)
      if loaded.fault != nil { return loaded }
    }
    guard read > 0 else {
      throw Fault(
        .noRows, "the dataset has no rows",
        at: .file(source.parts.first?.files.first ?? source.word),
        fix: "give a file with at least one row")
    }
    return loaded
  }

  private func rawRows(of part: DatasetSource.Part) throws(Fault) -> [RawRow] {
    var raw: [RawRow] = []
    for file in part.files {
      let reader = try openRows(file)
      let before = raw.count
      while let row = try reader.next() { raw.append(row) }
      let count = raw.count - before
      log.update { $0.update(file) { $0.read += count } }
    }
    return raw
  }

  private func standardize(
    _ raw: [RawRow], of part: DatasetSource.Part, into loaded: inout LoadedRows
  ) throws(Fault) {
    let plan = try ColumnPlan(
      columns: ColumnUnion(raw).names, renames: options.renames(with: part.columns),
      file: part.files[0])
    log.update { report in for note in plan.notes { report.note("\(part.files[0]): \(note)") } }
    var standardizer = RowStandardizer(plan: plan, preset: part.preset, options: options)
    // Picks are drawn in file order, so that the threads below cannot change them.
    let picks = raw.map { standardizer.pick($0) }
    let finished = standardizer
    let results = parallelMap(count: raw.count, threads: options.threads) {
      index -> Result<StandardRow?, Fault> in
      do throws(Fault) {
        return .success(try finished.standardize(raw[index], pick: picks[index]))
      } catch {
        return .failure(error)
      }
    }
    collect(results, raw, into: &loaded)
  }

  private func collect(
    _ results: [Result<StandardRow?, Fault>], _ raw: [RawRow], into loaded: inout LoadedRows
  ) {
    for (result, raw) in zip(results, raw) {
      switch result {
      case .success(let row?): loaded.rows.append(row)
      case .success(nil):
        log.update { $0.dropped(raw.source, reason: "the clip of the row is not in its folder") }
      case .failure(let fault):
        if options.strict {
          loaded.fault = fault.asStrict
          return
        }
        log.update { $0.dropped(raw.source, reason: fault.reason) }
      }
    }
  }
}

extension RowOptions {
  /// `--columns` over the columns of a registration.
  func renames(with registered: [String: String]) -> [(String, String)] {
    registered.merging(columns) { _, own in own }.sorted { $0.key < $1.key }.map {
      ($0.key, $0.value)
    }
  }
}

/// The columns of a data set: all that occur, in the order they are met.
struct ColumnUnion {
  private(set) var names: [String] = []
  private var seen: Set<String> = []

  init(_ rows: [RawRow] = []) { for row in rows { _ = add(row) } }

  init(names: [String]) {
    self.names = names
    seen = Set(names)
  }

  /// - Returns: whether the row has a column that is new.
  mutating func add(_ row: RawRow) -> Bool {
    let before = names.count
    for (key, _) in row.columns.members where seen.insert(key).inserted { names.append(key) }
    return names.count > before
  }
}

extension Fault {
  /// The fault as one line of the report: what is wrong and how to mend it.
  var reason: String { message + (fix.map { " (\($0))" } ?? "") }

  /// The fault as the end of the program.
  var asStrict: Fault {
    var fault = self
    let hint = "or use --strict false to leave bad rows out"
    fault.fix = fault.fix.map { "\($0), \(hint)" } ?? hint
    return fault
  }

  /// Whether the fault belongs to the row, so that the row may be left out.
  var isOfRow: Bool { code.exit == .badData || code.exit == .missingInput }
}
