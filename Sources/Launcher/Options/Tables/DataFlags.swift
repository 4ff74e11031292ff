import Support

/// What is read, in which order, and how rows are joined.
public struct DataFlags: Sendable {
  /// How interleaved data sets end.
  public enum StoppingStrategy: String, OptionChoice {
    case firstExhausted = "first_exhausted"
    case allExhausted = "all_exhausted"
  }
  /// What happens to rows over `maxLength`.
  public enum TruncationStrategy: String, OptionChoice { case delete, left, right }
  /// Whether data sets of a hub that are here are compared with what the hub has.
  public enum DownloadMode: String, OptionChoice {
    case reuse = "reuse_dataset_if_exists"
    case force = "force_redownload"
  }
  /// How rows are drawn.
  public enum LoaderType: String, OptionChoice { case cyclic, single, external }

  public var dataset: [String] = []
  public var valDataset: [String] = []
  public var splitDatasetRatio = 0.0
  public var loadFromCacheFile = false
  public var datasetNumProc = 1
  public var numWorkers = 4
  public var dataloaderPrefetchFactor = 10
  public var dataSeed = 42
  public var datasetShuffle = true
  public var valDatasetShuffle = false
  public var streaming = false
  public var interleaveProb: [Double]?
  public var stoppingStrategy = StoppingStrategy.firstExhausted
  public var shuffleBufferSize = 1000
  public var columns: JSONValue?
  public var strict = false
  public var removeUnusedColumns = true
  public var customDatasetInfo: [String] = []
  public var modelName: [String]?
  public var modelAuthor: [String]?
  public var packing = false
  public var packingLength: Int?
  public var paddingFree = true
  public var mlpPaddingFree = false
  public var lazyTokenize: Bool?
  public var cachedDataset: [String] = []
  /// nil: what the model allows.
  public var maxLength: Int?
  public var truncationStrategy = TruncationStrategy.delete
  public var dataloaderType = LoaderType.cyclic
  public var seqLength: Int?
  public var downloadMode = DownloadMode.reuse

  public init() {}

  /// Names of the data arguments that `load_data_args` restores from `args.json`.
  static let restored = [
    "dataset", "val_dataset", "split_dataset_ratio", "data_seed", "dataset_num_proc",
    "load_from_cache_file", "dataset_shuffle", "val_dataset_shuffle", "streaming",
    "interleave_prob", "stopping_strategy", "shuffle_buffer_size", "download_mode", "columns",
    "strict", "remove_unused_columns", "model_name", "model_author", "custom_dataset_info",
  ]

  /// Rows that every program with data has.
  static let sourceRows: [Option<DataFlags>] = [
    .init(
      \.dataset, "dataset",
      "Training data: files, folders or ids, each with an optional :SUBSET and #COUNT."),
    .init(\.valDataset, "val_dataset", "Validation data, spelled like --dataset."),
    Option(
      \.splitDatasetRatio, "split_dataset_ratio",
      "Part of each training set that becomes validation data."
    )
    .between(0, 1),
    .init(
      \.loadFromCacheFile, "load_from_cache_file",
      "Take encoded rows from the cache when nothing they depend on changed."),
    Option(
      \.datasetNumProc, "dataset_num_proc",
      "Threads that prepare rows; the result does not depend on it."
    )
    .atLeast(1),
    .init(\.dataSeed, "data_seed", "Seed of sampling, splitting and shuffling."),
    .init(\.datasetShuffle, "dataset_shuffle", "Shuffle the training rows."),
    .init(\.valDatasetShuffle, "val_dataset_shuffle", "Shuffle the validation rows."),
    .init(
      \.streaming, "streaming", "Read rows as they are needed, without knowing how many there are."),
    .init(
      \.interleaveProb, "interleave_prob",
      "Draw from the data sets with these probabilities instead of one after the other."),
    .init(\.stoppingStrategy, "stopping_strategy", "When interleaving ends."),
    Option(\.shuffleBufferSize, "shuffle_buffer_size", "Rows held for shuffling a stream.").atLeast(
      1),
    .init(\.columns, "columns", "Renames columns before rows are read: {\"old\": \"new\"}."),
    .init(\.strict, "strict", "Stop at the first bad row instead of leaving it out."),
    .init(\.removeUnusedColumns, "remove_unused_columns", "Keep the standard columns only."),
    .init(\.customDatasetInfo, "custom_dataset_info", "JSON files that register data sets."),
    Option(\.modelName, "model_name", "Name for the self-cognition data: Chinese, then English.")
      .refused("the self-cognition data set is not built in; write the names into the rows"),
    Option(
      \.modelAuthor, "model_author", "Author for the self-cognition data: Chinese, then English."
    ).refused("the self-cognition data set is not built in; write the names into the rows"),
    Option(\.maxLength, "max_length", "Most tokens of a row.").unset("what the model allows")
      .atLeast(1),
    .init(
      \.truncationStrategy, "truncation_strategy",
      "Rows that are too long: leave out, or cut on the left or right."),
    .init(
      \.downloadMode, "download_mode",
      "Data sets of a hub that are here are used, or compared with what the hub has now."),
    Option(
      recorded: "custom_register_path", .list, .list([]), "Python files that register data sets."
    )
    .refused("Python plugins are not supported; convert the rows to one of the standard layouts"),
    Option(recorded: "external_plugins", .list, .list([]), "Python plugins.")
      .refused("Python plugins are not supported"),
  ].under(.data)

  /// Rows of programs that train.
  static let trainingRows: [Option<DataFlags>] = [
    Option(
      \.numWorkers, "num_workers",
      "Threads per rank that prepare batches ahead; 0 prepares in line."
    ).atLeast(0),
    Option(
      \.dataloaderPrefetchFactor, "dataloader_prefetch_factor", "Batches kept ready per worker."
    ).atLeast(1),
    .init(
      \.packing, "packing",
      "Join rows to packs of up to --packing_length tokens; implies --padding_free."),
    Option(\.packingLength, "packing_length", "Tokens of a pack.").unset("max_length").atLeast(1),
    .init(
      \.paddingFree, "padding_free",
      "Lay the rows of a micro-batch one after another without padding."),
    Option(\.mlpPaddingFree, "mlp_padding_free", "Leave padding out of the feed-forward layers.")
      .noEffect("the result is the same; use --padding_free"),
    .init(\.lazyTokenize, "lazy_tokenize", "Encode rows when they are needed."),
    .init(
      \.cachedDataset, "cached_dataset", "Data sets encoded before (HDF5 files of megatron-export)."
    ),
    .init(\.dataloaderType, "dataloader_type", "Sampler of the training rows."),
    Option(\.seqLength, "seq_length", "Length used for bookkeeping only.").unset(
      "packing_length or max_length"
    ).atLeast(1).noEffect("throughput is counted with the lengths of the rows"),
    Option(
      recorded: "dataloader_persistent_workers", .bool, .bool(true), "Keep workers between epochs."
    )
    .noEffect("workers are threads of the rank and always kept"),
  ].under(.data)
}
