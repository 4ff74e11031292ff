import Support

/// All options of the data, in the groups of the code that reads them.
public struct DataOptions: Sendable, Equatable {
  public var sources = SourceOptions()
  public var rows = RowOptions()
  public var order = OrderOptions()
  /// `--val_dataset_shuffle`: for `--val_dataset` only.
  public var shuffleValidation = false
  public var encoding = EncodingOptions()
  /// micro_batch_size × data-parallel size: fewer validation samples switch validation off.
  public var stepBatch = 1
  /// Folder of the run; split-off validation rows are written there. nil = nowhere.
  public var outputFolder: String?
  public init() {}
}

/// From options to data.
public enum DatasetPlan {
  /// Reads, standardizes, splits, orders, encodes and packs.
  /// - Parameters:
  ///   - encode: the chat template; called from `rows.threads` threads.
  ///   - media: reads the pictures and clips of encoded rows; nil for models without vision.
  /// - Throws: `DATA-101` to `DATA-109` for files, words and rows that stop the program; `DATA-103`
  ///   if nothing is left to train on; `DATA-114` for options that exclude each other.
  public static func prepare(
    options: DataOptions, encode: @escaping RowEncoding, media: (any MediaLoading)? = nil
  ) throws(Fault) -> PreparedData {
    let log = ReportLog()
    try check(options)
    let encoder = encoder(options, encode: encode, media: media, log: log)
    if options.encoding.streaming { return try stream(options, encoder: encoder) }
    let cached = try readCached(options)
    let sets = try readSets(options, log: log)
    guard !sets.train.order.isEmpty || !cached.train.isEmpty else {
      throw Fault(
        .noRows, "no training rows are left",
        found: log.snapshot.files.flatMap { file in file.reasons.map { "\(file.path): \($0)" } }
          .prefix(DataReport.textLimit).joined(separator: "; "),
        fix: "give training data with --dataset, or lower --split_dataset_ratio")
    }
    let splits = options.sources.validation.isEmpty && options.order.splitRatio > 0
    if splits, let folder = options.outputFolder {
      try ValidationFile.write(sets.validation.inOrder, folder: folder)
    }
    let train = try samples(
      sets.train, cached.train, name: "training", options: options, encoder: encoder)
    return PreparedData(
      train: train,
      validation: try validation(
        sets.validation, cached.validation, options: options, encoder: encoder),
      log: log)
  }

  static func encoder(
    _ options: DataOptions, encode: @escaping RowEncoding, media: (any MediaLoading)?,
    log: ReportLog
  ) -> RowEncoder {
    RowEncoder(
      structure: RowStructure(
        acceptsMedia: options.rows.acceptsMedia, requiresAnswer: options.rows.requiresAnswer),
      options: options.encoding, strict: options.rows.strict, encode: encode, media: media,
      log: log)
  }

  private static func readCached(
    _ options: DataOptions
  ) throws(Fault) -> (train: [CachedRows], validation: [CachedRows]) {
    var train: [CachedRows] = []
    var validation: [CachedRows] = []
    for path in options.sources.cached {
      let sets = try CachedDataset.read(path, parts: options.encoding.parts)
      if let set = sets.train { train.append(set) }
      if let set = sets.validation { validation.append(set) }
    }
    return (train, validation)
  }

  /// The standard rows of both sets in order, without encoding them (inference, cached data sets).
  public static func rows(
    options: DataOptions
  ) throws(Fault) -> (train: [StandardRow], validation: [StandardRow], report: DataReport) {
    let log = ReportLog()
    let sets = try readSets(options, log: log)
    return (sets.train.inOrder, sets.validation.inOrder, log.snapshot)
  }

  private static func check(_ options: DataOptions) throws(Fault) {
    let encoding = options.encoding
    func refuse(_ text: String, _ flag: String, fix: String) -> Fault {
      Fault(.badDataOptions, text, at: .flag(flag), fix: fix)
    }
    if options.sources.train.isEmpty && options.sources.cached.isEmpty {
      throw refuse(
        "Please input the training dataset.", "dataset", fix: "give --dataset FILE ...")
    }
    if encoding.packing && encoding.lazy {
      throw refuse(
        "Packing and lazy_tokenize are incompatible.", "lazy_tokenize",
        fix: "set --lazy_tokenize false")
    }
    if encoding.streaming && encoding.lazy {
      throw refuse(
        "Streaming and lazy_tokenize are incompatible.", "lazy_tokenize",
        fix: "set --lazy_tokenize false")
    }
    if !options.sources.cached.isEmpty && (encoding.lazy || encoding.streaming) {
      throw refuse(
        "encoded data sets are neither lazy nor streamed.", "cached_dataset",
        fix: "leave out --lazy_tokenize and --streaming")
    }
    if encoding.packing && encoding.capacity == nil {
      throw refuse(
        "packing needs the length of a pack", "packing", fix: "set --max_length")
    }
    if let length = encoding.limit, length < 1 {
      throw refuse("the length \(length) holds no token", "max_length", fix: "set at least 1")
    }
    if encoding.cacheFolder != nil, encoding.fingerprint.isEmpty {
      throw Fault(.internalError, "a cache of encoded rows needs a fingerprint of the encoding")
    }
  }

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

  static func readSets(
    _ options: DataOptions, log: ReportLog
  ) throws(Fault) -> (train: RowSet, validation: RowSet) {
    let loader = RowLoader(options: options.rows, log: log)
    var order = options.order
    let named = !options.sources.validation.isEmpty
    if named && order.splitRatio > 0 {
      order.splitRatio = 0
      log.update { $0.note("split_dataset_ratio is set to 0, because val_dataset is given") }
    }
    let sets = try read(options.sources.train, order, options, loader)
    guard named else { return sets }
    // Validation files have a fresh generator of the same seed.
    var own = order
    own.splitRatio = 1
    own.shuffle = options.shuffleValidation
    own.interleave = nil
    let other = try read(options.sources.validation, own, options, loader)
    return (sets.train, other.validation)
  }

  private static func read(
    _ words: [String], _ order: OrderOptions, _ options: DataOptions, _ loader: RowLoader
  ) throws(Fault) -> (train: RowSet, validation: RowSet) {
    var all: [[StandardRow]] = []
    let sources = try sources(words, options)
    for source in sources { all.append(try loader.rows(of: source)) }
    let plan = try OrderPlan(sizes: all.map(\.count), counts: sources.map(\.count), options: order)
    loader.log.update { report in for note in plan.notes { report.note(note) } }
    return (set(plan.train, all), set(plan.validation, all))
  }

  private static func set(_ references: [RowReference], _ all: [[StandardRow]]) -> RowSet {
    var places = all.map { [Int](repeating: -1, count: $0.count) }
    var set = RowSet()
    for reference in references {
      if places[reference.source][reference.row] < 0 {
        places[reference.source][reference.row] = set.rows.count
        set.rows.append(all[reference.source][reference.row])
      }
      set.order.append(places[reference.source][reference.row])
    }
    return set
  }

  private static func samples(
    _ set: RowSet, _ cached: [CachedRows], name: String, options: DataOptions,
    encoder: RowEncoder
  ) throws(Fault) -> PreparedSamples {
    if options.encoding.lazy {
      let lazy = LazySamples(
        rows: set.rows, order: set.order, encoder: encoder, seed: options.order.seed)
      // A set of which nothing can be encoded must stop the program before a model is built.
      _ = try lazy.documents(0)
      return .indexed(lazy)
    }
    let pass = EncodePass(
      encoder: encoder, threads: options.rows.threads, seed: options.order.seed)
    return .indexed(try pass.samples(of: set, cached: cached, name: name))
  }

  private static func validation(
    _ set: RowSet, _ cached: [CachedRows], options: DataOptions, encoder: RowEncoder
  ) throws(Fault) -> PreparedSamples? {
    guard !set.order.isEmpty || !cached.isEmpty else { return nil }
    let samples = try samples(
      set, cached, name: "validation", options: options, encoder: encoder)
    guard let count = samples.count, count < options.stepBatch else { return samples }
    encoder.log.update {
      $0.note(
        "validation is switched off: it has \(count) samples, fewer than micro_batch_size × "
          + "data-parallel size = \(options.stepBatch)")
    }
    return nil
  }

  private static func stream(
    _ options: DataOptions, encoder: RowEncoder
  ) throws(Fault) -> PreparedData {
    if options.order.splitRatio > 0 {
      encoder.log.update { $0.note("split_dataset_ratio is set to 0, because data are streamed") }
    }
    func samples(_ words: [String], _ order: OrderOptions) throws(Fault) -> PreparedSamples {
      .stream(
        StreamedSamples(
          sources: try sources(words, options),
          loader: RowLoader(options: options.rows, log: encoder.log), encoder: encoder,
          order: order, threads: options.rows.threads))
    }
    var own = options.order
    own.shuffle = options.shuffleValidation
    own.interleave = nil
    let words = options.sources.validation
    return PreparedData(
      train: try samples(options.sources.train, options.order),
      validation: words.isEmpty ? nil : try samples(words, own), log: encoder.log)
  }
}
