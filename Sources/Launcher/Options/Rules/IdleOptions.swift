import Support

/// Options that do nothing because of another one: given, they are listed with the reason.
enum IdleOptions {
  /// Options that wait for a condition.
  private struct Rule: Sendable {
    let names: [String]
    let why: String
    /// Whether the options mean nothing in this run.
    let isIdle: @Sendable (TrainingOptions) -> Bool

    init(_ names: [String], _ why: String, _ isIdle: @escaping @Sendable (TrainingOptions) -> Bool)
    {
      self.names = names
      self.why = why
      self.isIdle = isIdle
    }
  }

  private static let rules: [Rule] = [
    Rule(["packing_length"], "only with --packing") { !$0.data.packing },
    Rule(["shuffle_buffer_size"], "only with --streaming") { !$0.data.streaming },
    Rule(["stopping_strategy"], "only with --interleave_prob") { $0.data.interleaveProb == nil },
    Rule(["val_dataset_shuffle"], "only with --val_dataset") { $0.data.valDataset.isEmpty },
    Rule(["load_from_cache_file"], "only where rows are encoded before training") {
      $0.data.loadFromCacheFile && ($0.data.streaming || $0.data.lazyTokenize == true)
    },
    Rule(["dataloader_prefetch_factor"], "only with --num_workers above 0") {
      $0.data.numWorkers == 0
    },
    Rule(["eval_interval", "eval_steps"], "only with validation data") { !evaluates($0) },
    Rule(["eval_iters"], "only with validation data") {
      !evaluates($0) && $0.logging.evalIters != 0
    },
    Rule(["lr_wsd_decay_style", "lr_wsd_decay_iters"], "only with --lr_decay_style WSD") {
      $0.schedule.lrDecayStyle != .wsd
    },
    Rule(["adam_beta1", "adam_beta2", "adam_eps"], "only with --optimizer adam") {
      $0.optimizer.kind != .adam
    },
    Rule(["sgd_momentum"], "only with --optimizer sgd") { $0.optimizer.kind != .sgd },
    Rule(
      ["optimizer_offload_fraction", "optimizer_offload_dir", "optimizer_offload_numa"],
      "only with --optimizer_cpu_offload"
    ) { !$0.optimizer.cpuOffload },
    Rule(["overlap_grad_reduce", "overlap_param_gather"], "only with several data-parallel ranks") {
      $0.dataParallelSize == 1
    },
    Rule(["recompute_modules"], "only with --recompute_granularity selective") {
      $0.recompute.granularity == .full
    },
    Rule(["moe_token_drop_policy", "moe_capacity_scope"], "only with --moe_expert_capacity_factor")
    { $0.experts.expertCapacityFactor == nil },
    Rule(["no_load_optim", "finetune", "on_corrupt", "load_args"], "only with --load") {
      $0.checkpoint.load == nil && $0.adapterCheckpoint == nil
    },
    Rule(["seed"], "weights come from files and there is no dropout") {
      ($0.checkpoint.load != nil || $0.checkpoint.noInitialization)
        && $0.tuner.trainType == .full
    },
    Rule(
      [
        "adapters", "adapter_load", "target_modules", "target_regex", "modules_to_save",
        "lora_rank", "lora_alpha", "use_rslora", "lora_dropout", "lora_bias", "lora_dtype",
      ], "only with --train_type lora"
    ) { $0.tuner.trainType == .full },
    Rule(
      [
        "freeze_parameters", "freeze_parameters_regex", "freeze_parameters_ratio",
        "trainable_parameters", "trainable_parameters_regex",
      ], "only with --train_type full"
    ) { $0.tuner.trainType == .lora },
    Rule(
      ["lora_rank", "lora_alpha", "use_rslora", "target_modules", "target_regex"],
      "the adapter to begin from has its own"
    ) {
      $0.tuner.trainType == .lora
        && ($0.tuner.adapterLoad != nil || !$0.tuner.adapters.isEmpty)
    },
    Rule(["target_modules"], "--target_regex chooses the modules") {
      $0.tuner.trainType == .lora && $0.tuner.targetRegex != nil
    },
    Rule(["init_method_std"], "weights come from files") {
      $0.checkpoint.load != nil || $0.checkpoint.noInitialization
    },
    Rule(["no_initialization"], "--load gives the weights") {
      $0.checkpoint.load != nil && !$0.checkpoint.noInitialization
    },
  ]

  private static func evaluates(_ options: TrainingOptions) -> Bool {
    !options.data.valDataset.isEmpty || options.data.splitDatasetRatio > 0
  }

  /// What was given in vain, with the reason.
  static func given(_ options: TrainingOptions) -> [(name: String, why: String)] {
    rules.filter { $0.isIdle(options) }.flatMap { rule in
      rule.names.filter {
        options.report.parsed.isGivenByUser($0) || options.extra.given.contains($0)
      }.map { ($0, rule.why) }
    }
  }
}
