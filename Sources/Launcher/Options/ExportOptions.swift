import Support

/// All options of `megatron-export`.
public struct ExportOptions: ProgramOptions {
  public var export = ExportFlags()
  public var model = ModelFlags()
  public var template = TemplateFlags()
  public var data = DataFlags()
  public var parallel = ParallelFlags()
  public var run = RunFlags()
  public var logging = LoggingFlags()
  var generation = GenerationFlags()
  public var report = OptionReport()

  public init() {}

  private static let recorded = "it is written into args.json, for programs that read that"

  static let table = OptionTable<ExportOptions>(
    ExportFlags.rows.rows(in: \.export)
      + (ModelFlags.rows + ModelFlags.inertRows).rows(in: \.model)
      + (TemplateFlags.rows + TemplateFlags.lossRows.filter { $0.spec.name == "loss_scale" })
      .rows(in: \.template)
      + (DataFlags.sourceRows
      + DataFlags.trainingRows.filter { ["packing", "packing_length"].contains($0.spec.name) })
      .rows(in: \.data)
      + ParallelFlags.layoutRows.unread("the files are the same for every layout")
      .rows(in: \.parallel)
      + [LoggingFlags.levelRow].rows(in: \.logging)
      + (RunFlags.computeRows + RunFlags.metaRows).rows(in: \.run)
      + GenerationFlags.inertRows.rows(in: \.generation), defaults: ExportOptions())

  static let definition: ProgramDefinition<ExportOptions> = {
    var definition = ProgramDefinition(
      name: .export, defaults: ExportOptions(), table: table)
    definition.reload = { parsed, launch, complaints in
      OldSpellings.fill(&parsed)
      SavedArguments.reloadForReading(
        &parsed, from: ["mcore_adapters", "adapters", "mcore_model", "model"], launch,
        table: table, loadArgs: true, &complaints)
    }
    definition.derive = { options, _ in options.derive() }
    definition.rules = rules
    return definition
  }()

  static let rules: [OptionRule<ExportOptions>] = [
    OptionRule("an_action") { options in
      options.export.actions > 0
        ? nil
        : "nothing to do: give --to_mcore true, --to_hf true, --merge_lora true, "
          + "--to_peft_format true, --to_cached_dataset true, --push_to_hub true, --inspect, "
          + "--verify or --diff"
    },
    OptionRule("one_action") { options in
      options.export.toMcore && options.export.toHF
        ? "--to_mcore and --to_hf exclude each other"
        : options.export.actions > 1 ? "one call does one thing" : nil
    },
    OptionRule("push_alone") { options in
      options.export.pushToHub && !options.export.pushes
        ? "--push_to_hub goes with --merge_lora at most: convert first, then push the folder" : nil
    },
    OptionRule("push_has_name") { options in
      options.export.pushToHub && options.export.hubModelID == nil
        ? "--push_to_hub needs the name in the hub: --hub_model_id user/repo" : nil
    },
    OptionRule("diff_takes_two") { options in
      [0, 2].contains(options.export.diff.count)
        ? nil : "--diff takes two paths, got \(options.export.diff.count)"
    },
    OptionRule("data_for_cached") { options in
      guard options.export.toCachedDataset else { return nil }
      if options.data.dataset.isEmpty { return "--to_cached_dataset needs --dataset" }
      return options.data.streaming
        ? "--to_cached_dataset reads whole data sets: no --streaming" : nil
    },
    OptionRule("to_hf_needs_checkpoint") { options in
      options.export.toHF && options.export.mcoreModel == nil && !options.export.merges
        ? "Please specify `--mcore_model`." : nil
    },
    OptionRule("checkpoint_exists", code: .missingFile) { options in
      guard let path = options.export.mcoreModel, !PathText.exists(path) else { return nil }
      return "--mcore_model: path: '\(path)' does not exist"
    },
    OptionRule("model_known") { options in
      options.model.model == nil && !options.export.isReading && !options.export.merges
        && options.export.adapters.isEmpty
        ? "Please set --model <model_id_or_path>" : nil
    },
    OptionRule("merge_needs_adapter") { options in
      options.export.mergeLoRA && options.export.adapters.isEmpty
        && options.export.mcoreAdapters.isEmpty
        ? "--merge_lora needs the adapter: --adapters DIR" : nil
    },
    OptionRule("peft_needs_run") { options in
      options.export.toPEFT && options.export.mcoreAdapters.isEmpty
        ? "--to_peft_format needs the run of the adapter: --mcore_adapters DIR" : nil
    },
    OptionRule("one_adapter") { options in
      options.export.adapters.count + options.export.mcoreAdapters.count > 1
        ? "one adapter is merged at a time: give one folder with --adapters or --mcore_adapters"
        : nil
    },
    OptionRule("output_is_new") { options in
      guard let path = options.export.outputDir, PathText.exists(path), !options.export.existOK,
        !Conversions.isUnfinished(path), !options.export.mergeLoRA
      else { return nil }
      return "--output_dir: \(path) already exists.; take another folder or give --exist_ok true"
    },
  ]

  /// `<source>-mcore` or `<source>-hf` beside the source that has an `args.json`, else in the
  /// working folder.
  mutating func derive() {
    guard export.outputDir == nil,
      export.toMcore || export.toHF || export.merges || export.toCachedDataset
    else { return }
    let suffix =
      export.toPEFT
      ? "peft"
      : export.mergeLoRA
        ? "merged" : export.toCachedDataset ? "cached_dataset" : export.toHF ? "hf" : "mcore"
    let folders = [
      export.adapters.first, export.mcoreAdapters.first, export.mcoreModel, model.model,
    ].compactMap { $0 }.map(PathText.absolute)
    if export.mergeLoRA, let adapter = folders.first {
      export.outputDir = adapter + "-merged"
      report.notes.append("output_dir=\(adapter)-merged")
      return
    }
    if let source = folders.first(where: { PathText.exists($0 + "/" + SavedArguments.fileName) }) {
      export.outputDir = source + "-" + suffix
    } else if let name = model.model?.split(separator: "/").last {
      export.outputDir = PathText.absolute("\(name)-\(suffix)")
    }
    report.notes.append("output_dir=\(export.outputDir ?? "–")")
  }

  /// Reads a command line.
  /// - Throws: one fault with all mistakes.
  public static func read(
    _ words: [String], launch: LaunchEnvironment
  ) throws(Fault) -> Reading<ExportOptions> {
    try OptionReader(definition: definition, launch: launch).read(words)
  }

  /// The content of the `args.json` of a converted checkpoint.
  public func argumentsJSON(adding derived: JSONObject = JSONObject()) -> JSONValue {
    SavedArguments.json(Self.table, self, report.parsed, adding: derived)
  }
}
