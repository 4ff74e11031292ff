import Support

// Data sets of the flags to rows in order.

extension DatasetPlan {
  private static func registry(_ options: DataOptions) throws(Fault) -> DatasetRegistry {
    var registry = DatasetRegistry()
    for file in options.sources.customInfo { try registry.addCustomInfo(file: file) }
    return registry
  }

  static func sources(
    _ words: [String], _ options: DataOptions
  ) throws(Fault) -> [DatasetSource] {
    let registry = try registry(options)
    var sources: [DatasetSource] = []
    for word in words {
      sources.append(
        try DatasetSource(word: word, registry: registry, options: options.sources))
    }
    return sources
  }

  /// The rows of `--dataset` and `--val_dataset`, split, sampled and ordered.
  /// - Parameter encoder: with `--strict`, encodes the rows before one that cannot be read, so that
  ///   the first bad row is named; nil where rows are not encoded.
  static func readSets(
    _ options: DataOptions, encoder: RowEncoder?, log: ReportLog
  ) throws(Fault) -> RowSets {
    var reading = Reading(
      options: options, loader: RowLoader(options: options.rows, log: log), encoder: encoder)
    var order = options.order
    let named = !options.sources.validation.isEmpty
    if named && order.splitRatio > 0 {
      order.splitRatio = 0
      log.update { $0.note("split_dataset_ratio is set to 0, because val_dataset is given") }
    }
    let sets = try reading.read(options.sources.train, order, flag: 0)
    guard named else { return sets }
    // Validation files have a fresh generator of the same seed.
    var own = order
    own.splitRatio = 1
    own.shuffle = options.shuffleValidation
    own.interleave = nil
    let other = try reading.read(options.sources.validation, own, flag: 1)
    return RowSets(train: sets.train, validation: other.validation)
  }

  /// Data sets read one after the other.
  private struct Reading {
    let options: DataOptions
    let loader: RowLoader
    let encoder: RowEncoder?
    /// All rows so far, with `--strict` only.
    private var before: [StandardRow] = []

    init(options: DataOptions, loader: RowLoader, encoder: RowEncoder?) {
      self.options = options
      self.loader = loader
      self.encoder = encoder
    }

    mutating func read(
      _ words: [String], _ order: OrderOptions, flag: Int
    ) throws(Fault) -> RowSets {
      var all: [[StandardRow]] = []
      let sources = try DatasetPlan.sources(words, options)
      for source in sources { all.append(try rows(of: source)) }
      let plan = try OrderPlan(
        sizes: all.map(\.count), counts: sources.map(\.count), options: order)
      loader.log.update { report in for note in plan.notes { report.note(note) } }
      return RowSets(
        train: RowSet(plan.train, of: all, flag: flag),
        validation: RowSet(plan.validation, of: all, flag: flag))
    }

    private mutating func rows(of source: DatasetSource) throws(Fault) -> [StandardRow] {
      let loaded = try loader.rows(of: source)
      if options.rows.strict { before += loaded.rows }
      guard let fault = loaded.fault else { return loaded.rows }
      if let encoder {
        let pass = EncodePass(
          encoder: encoder, threads: options.rows.threads, seed: options.order.seed)
        _ = try pass.outcomes(of: before)
      }
      throw fault
    }
  }
}
