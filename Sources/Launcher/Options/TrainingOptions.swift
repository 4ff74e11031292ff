import Support

/// All options of `megatron-sft` and `megatron-pt`, in whichever form they were written.
public struct TrainingOptions: ProgramOptions {
  /// Which of the two sets of flags the line was written in.
  public enum Form: Sendable { case megatron, swift }

  public var form = Form.megatron
  public var data = DataFlags()
  public var template = TemplateFlags()
  public var model = ModelFlags()
  public var architecture = ArchitectureFlags()
  public var checkpoint = CheckpointFlags()
  public var parallel = ParallelFlags()
  public var schedule = ScheduleFlags()
  public var optimizer = OptimizerFlags()
  public var precision = PrecisionFlags()
  public var recompute = RecomputeFlags()
  public var attention = AttentionFlags()
  public var experts = MoEFlags()
  public var tuner = TunerFlags()
  public var logging = LoggingFlags()
  public var run = RunFlags()
  public var extra = ExtraFlags()
  /// The flags of `swift sft` as written; the other records already hold what they mean.
  public var swift = SwiftFormFlags()
  var generation = GenerationFlags()
  public var report = OptionReport()

  public init() {}

  /// What the flags of the two forms have in common.
  private static let commonRows: [Option<TrainingOptions>] =
    (DataFlags.sourceRows + DataFlags.trainingRows).rows(in: \.data)
    + (TemplateFlags.rows + TemplateFlags.lossRows).rows(in: \.template).map {
      $0.spec.name == "response_prefix" ? $0.noEffect("it is an option of megatron-infer") : $0
    }
    + (ModelFlags.rows + ModelFlags.inertRows).rows(in: \.model)
    + ArchitectureFlags.rows.rows(in: \.architecture)
    + (CheckpointFlags.rows + CheckpointFlags.ownRows).rows(in: \.checkpoint)
    + (ParallelFlags.layoutRows + ParallelFlags.trainingRows).rows(in: \.parallel)
    + ScheduleFlags.rows.rows(in: \.schedule)
    + (OptimizerFlags.rows + OptimizerFlags.ownRows).rows(in: \.optimizer)
    + PrecisionFlags.rows.rows(in: \.precision)
    + RecomputeFlags.rows.rows(in: \.recompute)
    + AttentionFlags.rows.rows(in: \.attention)
    + (MoEFlags.rows + MoEFlags.ownRows).rows(in: \.experts)
    + TunerFlags.rows.rows(in: \.tuner)
    + LoggingFlags.rows.rows(in: \.logging)
    + (RunFlags.computeRows + RunFlags.trainingRows + RunFlags.metaRows).rows(in: \.run)
    + GenerationFlags.inertRows.rows(in: \.generation)
    + preferenceRows

  private static let preferenceRows: [Option<TrainingOptions>] = [
    ("rlhf_type", OptionKind.text), ("ref_load", .text), ("beta", .float), ("rpo_alpha", .float),
  ].map { name, kind in
    Option(recorded: name, kind, "Preference training.").refused("preference training is not built")
      .group(.inert)
  }

  /// The form of section 3 with the newer spellings as aliases.
  static let megatronTable = OptionTable<TrainingOptions>(
    commonRows + SwiftFormFlags.megatronFormRows.rows(in: \.swift), defaults: TrainingOptions(),
    aliases: [
      "mcore_model": "load", "mcore_adapter": "adapter_load", "output_dir": "save",
      "save_steps": "save_interval", "eval_steps": "eval_interval",
      "logging_steps": "log_interval", "num_train_epochs": "max_epochs",
      "dataloader_num_workers": "num_workers", "tuner_type": "train_type",
    ], neighbours: SwiftFormFlags.marks)

  /// The form of `swift sft`: the same rows with other defaults, and its own spellings.
  static let swiftTable = OptionTable<TrainingOptions>(
    commonRows.filter { $0.spec.name != "vit_gradient_checkpointing" }
      + SwiftFormFlags.rows.rows(in: \.swift), defaults: swiftDefaults,
    aliases: ["tuner_type": "train_type"])

  static var swiftDefaults: TrainingOptions {
    var options = TrainingOptions()
    options.form = .swift
    options.tuner.trainType = .lora
    options.data.paddingFree = false
    options.data.numWorkers = 1
    return options
  }

  static func definition(
    _ name: ProgramName, form: Form
  ) -> ProgramDefinition<TrainingOptions> {
    var definition = ProgramDefinition(
      name: name, defaults: form == .swift ? swiftDefaults : TrainingOptions(),
      table: form == .swift ? swiftTable : megatronTable)
    let table = definition.table
    definition.reload = {
      OldSpellings.fill(&$0)
      ResumeSearch.fill(&$0, form: form)
      SavedArguments.reloadForTraining(&$0, table: table, &$2)
    }
    definition.readExtra = { parsed, root, complaints in
      guard let value = parsed["extra_megatron_kwargs"] else { return }
      guard case .json(let json) = value, let object = json.object else {
        complaints.add(
          .badOptionValue, "extra_megatron_kwargs", "expected a JSON object {name: value}")
        return
      }
      root.extra.read(object, main: table, into: &parsed, complaints: &complaints)
    }
    definition.derive = { $0.derive(&$1) }
    definition.rules = TrainingRules.all
    return definition
  }

  /// The table the options were read with.
  var table: OptionTable<TrainingOptions> { form == .swift ? Self.swiftTable : Self.megatronTable }

  /// Reads a command line, in the form its flags belong to.
  /// - Parameter swiftProgram: the program was called `swift-sft`, which has only that form.
  /// - Throws: one fault with all mistakes.
  public static func read(
    _ words: [String], program: ProgramName = .sft, launch: LaunchEnvironment,
    swiftProgram: Bool = false
  ) throws(Fault) -> Reading<TrainingOptions> {
    let form: Form = swiftProgram || usesSwiftForm(words) ? .swift : .megatron
    return try OptionReader(definition: definition(program, form: form), launch: launch).read(words)
  }

  /// Whether one of the flags that only `swift sft` has is on the line or in its file.
  static func usesSwiftForm(_ words: [String]) -> Bool {
    let outcome = OptionParser(table: swiftTable).parse(words)
    return SwiftFormFlags.marks.contains {
      outcome.parsed.isGiven($0) || outcome.spelled[$0] != nil
    }
  }
}
