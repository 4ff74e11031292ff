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
  ///   - peers: ranks of which each encodes a share of the rows; all get the same data.
  /// - Throws: `DATA-101` to `DATA-109` for files, words and rows that stop the program; `DATA-103`
  ///   if nothing is left to train on; `DATA-114` for options that exclude each other; `DATA-115` for
  ///   peers that read other rows.
  /// - Communication: without `--streaming` and `--lazy_tokenize`, gathers of the encoded rows.
  public static func prepare(
    options: DataOptions, encode: @escaping RowEncoding, media: (any MediaLoading)? = nil,
    peers: (any RankPeers)? = nil
  ) throws(Fault) -> PreparedData {
    let log = ReportLog()
    let encoder = encoder(options, encode: encode, media: media, log: log)
    let read = try peers.agreeing { () throws(Fault) -> ReadData? in
      try check(options)
      return options.encoding.streaming ? nil : try readAll(options, encoder)
    }
    guard let read else { return try stream(options, encoder: encoder) }
    if options.encoding.lazy { return try lazy(read.sets, options, encoder) }
    try requireSame(read.sets, peers)
    let pass = EncodePass(
      encoder: encoder, threads: options.rows.threads, seed: options.order.seed, peers: peers)
    let outcomes = try read.sets.outcomes(by: pass)
    let train = try pass.samples(
      of: read.sets.train, outcomes.train, cached: read.cachedTrain, name: "training")
    guard !read.sets.validation.order.isEmpty || !read.cachedValidation.isEmpty else {
      return PreparedData(train: .indexed(train), validation: nil, log: log)
    }
    let validation = try pass.samples(
      of: read.sets.validation, outcomes.validation, cached: read.cachedValidation,
      name: "validation")
    return PreparedData(
      train: .indexed(train), validation: large(.indexed(validation), options, log), log: log)
  }

  /// Rows that were read and rows that were encoded before.
  private struct ReadData {
    var sets: RowSets
    var cachedTrain: [CachedRows] = []
    var cachedValidation: [CachedRows] = []
  }

  private static func readAll(
    _ options: DataOptions, _ encoder: RowEncoder
  ) throws(Fault) -> ReadData {
    let cached = try readCached(options, encoder)
    let sets = try readSets(options, encoder: encoder, log: encoder.log)
    guard !sets.train.order.isEmpty || !cached.train.isEmpty else {
      throw Fault(
        .noRows, "no training rows are left",
        found: encoder.log.snapshot.files.flatMap { file in
          file.reasons.map { "\(file.path): \($0)" }
        }
        .prefix(DataReport.textLimit).joined(separator: "; "),
        fix: "give training data with --dataset, or lower --split_dataset_ratio")
    }
    let splits = options.sources.validation.isEmpty && options.order.splitRatio > 0
    if splits, let folder = options.outputFolder {
      try ValidationFile.write(sets.validation.inOrder, folder: folder)
    }
    return ReadData(
      sets: sets, cachedTrain: cached.train, cachedValidation: cached.validation)
  }

  /// Ranks that share the encoding must have read the same.
  private static func requireSame(
    _ sets: RowSets, _ peers: (any RankPeers)?
  ) throws(Fault) {
    guard let peers = peers.several else { return }
    var own = ByteWriter()
    own.add([Int64(sets.train.rows.count), Int64(sets.validation.rows.count)])
    own.add([sets.checksum])
    let all = try peers.gather(own.bytes)
    guard let other = all.firstIndex(where: { $0 != all[0] }) else { return }
    throw Fault(
      .differentRows, "rank \(other) has read other rows than rank 0",
      fix: "give all nodes the same data files")
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
    _ options: DataOptions, _ encoder: RowEncoder
  ) throws(Fault) -> (train: [CachedRows], validation: [CachedRows]) {
    var train: [CachedRows] = []
    var validation: [CachedRows] = []
    for path in options.sources.cached {
      let sets = try CachedDataset.read(
        path, parts: options.encoding.parts, media: encoder.media)
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
    let sets = try readSets(options, encoder: nil, log: log)
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

  private static func lazy(
    _ sets: RowSets, _ options: DataOptions, _ encoder: RowEncoder
  ) throws(Fault) -> PreparedData {
    func samples(_ set: RowSet) throws(Fault) -> PreparedSamples {
      let lazy = LazySamples(
        rows: set.rows, order: set.order, encoder: encoder, seed: options.order.seed)
      // A set of which nothing can be encoded must stop the program before a model is built.
      _ = try lazy.documents(0)
      return .indexed(lazy)
    }
    let train = try samples(sets.train)
    guard !sets.validation.order.isEmpty else {
      return PreparedData(train: train, validation: nil, log: encoder.log)
    }
    return PreparedData(
      train: train, validation: large(try samples(sets.validation), options, encoder.log),
      log: encoder.log)
  }

  /// Validation samples, if there are enough for one step.
  private static func large(
    _ samples: PreparedSamples, _ options: DataOptions, _ log: ReportLog
  ) -> PreparedSamples? {
    guard let count = samples.count, count < options.stepBatch else { return samples }
    log.update {
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
