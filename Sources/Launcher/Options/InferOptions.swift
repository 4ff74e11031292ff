import Support

/// All options of `megatron-infer`.
public struct InferOptions: ProgramOptions {
  public var generation = GenerationFlags()
  public var model = ModelFlags()
  public var template = TemplateFlags()
  public var data = DataFlags()
  public var parallel = ParallelFlags()
  public var attention = AttentionFlags()
  public var run = RunFlags()
  public var logging = LoggingFlags()
  public var report = OptionReport()

  public init() {}

  static let table = OptionTable<InferOptions>(
    GenerationFlags.rows.rows(in: \.generation)
      + (ModelFlags.rows + ModelFlags.inertRows.filter { $0.spec.name != "max_model_len" })
      .rows(in: \.model)
      + TemplateFlags.rows.rows(in: \.template)
      + DataFlags.sourceRows.rows(in: \.data)
      + ParallelFlags.layoutRows.rows(in: \.parallel)
      + AttentionFlags.rows.filter { ["attn_impl", "attention_backend"].contains($0.spec.name) }
      .rows(in: \.attention)
      + [LoggingFlags.levelRow].rows(in: \.logging)
      + (RunFlags.computeRows + RunFlags.metaRows).rows(in: \.run), defaults: InferOptions())

  static let definition: ProgramDefinition<InferOptions> = {
    var definition = ProgramDefinition(name: .infer, defaults: InferOptions(), table: table)
    definition.reload = { parsed, launch, complaints in
      OldSpellings.fill(&parsed)
      SavedArguments.reloadForReading(
        &parsed, from: ["adapters", "mcore_model", "model"], launch, table: table,
        loadArgs: true, &complaints)
    }
    definition.derive = { options, _ in options.derive() }
    definition.rules = rules
    return definition
  }()

  static let rules: [OptionRule<InferOptions>] = [
    OptionRule("model_known") { options in
      options.model.model == nil && options.generation.mcoreModel == nil
        && options.generation.adapters.isEmpty
        ? "Please set --model <model_id_or_path>" : nil
    },
    OptionRule("serving_takes_no_data") { options in
      options.generation.serve != nil && !options.isInteractive
        ? "--serve answers requests; it takes no --dataset or --val_dataset" : nil
    },
    OptionRule("validation_part") { options in
      !options.data.dataset.isEmpty && options.data.valDataset.isEmpty
        && options.data.splitDatasetRatio == 0
        ? "there are no validation rows: --dataset needs --split_dataset_ratio above 0, or give "
          + "--val_dataset" : nil
    },
    OptionRule("one_rank_at_the_terminal") { options in
      let shares = options.parallel.tensor * options.parallel.expert > 1
      guard options.report.world.size > 1, !shares,
        options.isInteractive || options.generation.stream == true
      else { return nil }
      return "conversations, serving and streaming take the ranks of one model; the world has "
        + "\(options.report.world.size), so raise --tensor_model_parallel_size or "
        + "--expert_model_parallel_size"
    },
  ]

  /// No data are given, so prompts come from the terminal.
  public var isInteractive: Bool { data.dataset.isEmpty && data.valDataset.isEmpty }

  mutating func derive() {
    if !data.valDataset.isEmpty { data.splitDatasetRatio = 0 }
    if generation.stream == nil { generation.stream = isInteractive }
    if template.useChatTemplate == nil { template.useChatTemplate = true }
  }

  /// Reads a command line.
  /// - Throws: one fault with all mistakes.
  public static func read(
    _ words: [String], launch: LaunchEnvironment
  ) throws(Fault) -> Reading<InferOptions> {
    try OptionReader(definition: definition, launch: launch).read(words)
  }
}
