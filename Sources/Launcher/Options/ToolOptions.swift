import Support

/// All options of `megatron-parity`.
public struct ParityOptions: ProgramOptions {
  public var parity = ParityFlags()
  public var model = ModelFlags()
  public var parallel = ParallelFlags()
  public var experts = MoEFlags()
  public var recompute = RecomputeFlags()
  public var attention = AttentionFlags()
  public var run = RunFlags()
  public var logging = LoggingFlags()
  public var report = OptionReport()

  public init() {}

  private static let modelRows: [Option<ModelFlags>] = ModelFlags.rows.map {
    let isRead = ["model", "torch_dtype"].contains($0.spec.name) || $0.spec.effect != .used
    return isRead ? $0 : $0.noEffect("the model is named by its folder")
  }

  static let table = OptionTable<ParityOptions>(
    ParityFlags.rows.rows(in: \.parity) + modelRows.rows(in: \.model)
      + ParallelFlags.layoutRows.rows(in: \.parallel)
      + (MoEFlags.rows + MoEFlags.ownRows).unread("the stored results say how experts were chosen")
      .rows(in: \.experts)
      + RecomputeFlags.rows.unread("every activation is kept, to be compared")
      .rows(in: \.recompute)
      + AttentionFlags.rows.rows(in: \.attention)
      + [LoggingFlags.levelRow].rows(in: \.logging)
      + (RunFlags.computeRows + RunFlags.metaRows).rows(in: \.run), defaults: ParityOptions())

  static let definition: ProgramDefinition<ParityOptions> = {
    var definition = ProgramDefinition(name: .parity, defaults: ParityOptions(), table: table)
    definition.rules = [
      OptionRule("something_to_compare") { options in
        let hasModel = options.model.model != nil && !options.parity.golden.isEmpty
        return hasModel || options.parity.dataGolden != nil
          ? nil : "give --model and --golden, or --data_golden"
      },
      OptionRule("data_cases_need_folders") { options in
        guard options.parity.dataGolden != nil else { return nil }
        return options.parity.dataRoot != nil && options.parity.tokenizer != nil
          ? nil : "--data_golden needs --data_root and --tokenizer"
      },
    ]
    return definition
  }()

  /// Reads a command line.
  /// - Throws: one fault with all mistakes.
  public static func read(
    _ words: [String], launch: LaunchEnvironment
  ) throws(Fault) -> Reading<ParityOptions> {
    try OptionReader(definition: definition, launch: launch).read(words)
  }
}

/// All options of `megatron-bench`.
public struct BenchOptions: ProgramOptions {
  public var bench = BenchFlags()
  public var generate = GenerateBenchFlags()
  public var model = ModelFlags()
  public var parallel = ParallelFlags()
  public var recompute = RecomputeFlags()
  public var run = RunFlags()
  public var logging = LoggingFlags()
  public var report = OptionReport()

  public init() {}

  static let table = OptionTable<BenchOptions>(
    BenchFlags.rows.rows(in: \.bench) + GenerateBenchFlags.rows.rows(in: \.generate)
      + ModelFlags.rows.rows(in: \.model)
      + ParallelFlags.layoutRows.rows(in: \.parallel)
      + RecomputeFlags.rows.rows(in: \.recompute)
      + [LoggingFlags.levelRow].rows(in: \.logging)
      + (RunFlags.computeRows + RunFlags.metaRows).rows(in: \.run), defaults: BenchOptions())

  static let definition: ProgramDefinition<BenchOptions> = {
    var definition = ProgramDefinition(name: .bench, defaults: BenchOptions(), table: table)
    definition.positional = "kinds"
    return definition
  }()

  /// Reads a command line; words before the first option are kinds of measurement.
  /// - Throws: one fault with all mistakes.
  public static func read(
    _ words: [String], launch: LaunchEnvironment
  ) throws(Fault) -> Reading<BenchOptions> {
    try OptionReader(definition: definition, launch: launch).read(words)
  }
}
