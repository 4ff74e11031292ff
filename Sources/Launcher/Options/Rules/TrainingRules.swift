import Support

/// Conditions between the options of training that can be checked without the model.
enum TrainingRules {
  static let all: [OptionRule<TrainingOptions>] =
    inputs + data + schedule + optimizer + parallel + recompute + experts

  private static let inputs: [OptionRule<TrainingOptions>] = [
    OptionRule("load_exists", code: .missingFile) { options in
      guard let path = options.checkpoint.load, !PathText.exists(path),
        options.checkpoint.exitOnMissing
      else { return nil }
      return "--load: path: '\(path)' does not exist"
    },
    OptionRule("resume_names_no_checkpoint") { options in
      guard options.run.resume != nil else { return nil }
      for name in ["load", "resume_from_checkpoint"]
      where options.report.parsed.isGivenByUser(name) {
        return "--resume auto finds the checkpoint itself: leave out --\(name)"
      }
      return options.checkpoint.finetune
        ? "--resume auto goes on and --finetune true begins anew: give one" : nil
    },
    OptionRule("one_schedule") { options in
      options.extra.overrideScheduler && options.extra.useCheckpointScheduler
        ? "override_opt_param_scheduler takes the schedule of the flags, "
          + "use_checkpoint_opt_param_scheduler that of the checkpoint: give one" : nil
    },
    OptionRule("model_known") { options in
      guard options.model.model == nil else { return nil }
      return "Please set --model <model_id_or_path>"
        + (options.checkpoint.load.map { "; \($0) has no args.json that names it" } ?? "")
    },
    OptionRule("something_to_begin_from") { options in
      guard options.checkpoint.load == nil, options.model.model == nil,
        options.checkpoint.noInitialization
      else { return nil }
      return "there is nothing to begin from: give --load or --model, or set "
        + "--no_initialization false for random weights"
    },
    OptionRule("dataset_given") { options in
      options.data.dataset.isEmpty && options.data.cachedDataset.isEmpty
        ? "Please input the training dataset (--dataset)" : nil
    },
    OptionRule("something_to_train") { options in
      let tuner = options.tuner
      return tuner.freezeLLM && tuner.freezeVision && tuner.freezeAligner
        && tuner.trainableParameters.isEmpty && tuner.trainableParametersRegex == nil
        ? "--freeze_llm true leaves nothing to train beside a frozen tower and aligner" : nil
    },
    OptionRule("merged_model_is_written") { options in
      guard options.tuner.mergeLoRA else { return nil }
      if options.tuner.trainType != .lora { return "--merge_lora needs --train_type lora" }
      if !options.checkpoint.saveSafetensors {
        return "--merge_lora says what --save_safetensors true writes: give that too"
      }
      return options.checkpoint.load == nil && !options.checkpoint.noInitialization
        ? "--merge_lora needs a base in files, not random weights" : nil
    },
    OptionRule("one_adapter_to_begin_from") { options in
      if options.tuner.adapters.count > 1 { return "--adapters takes one folder for training" }
      return options.tuner.adapterLoad != nil && !options.tuner.adapters.isEmpty
        ? "--adapters and --adapter_load exclude each other" : nil
    },
    OptionRule("adapter_exists", code: .missingFile) { options in
      let named = [
        ("adapters", options.tuner.adapters.first.map(PathText.absolute)),
        ("adapter_load", options.tuner.adapterLoad),
      ]
      for (flag, path) in named {
        if let path, !PathText.exists(path) { return "--\(flag): path: '\(path)' does not exist" }
      }
      return nil
    },
    OptionRule("freeze_ratio_without_pipeline") { options in
      options.tuner.freezeParametersRatio > 0 && options.parallel.pipeline > 1
        ? "--freeze_parameters_ratio is not supported with --pipeline_model_parallel_size above 1"
        : nil
    },
    OptionRule("one_half_type") { options in
      options.precision.fp16 == true && options.precision.bf16 == true
        ? "--fp16 true and --bf16 true exclude each other" : nil
    },
  ]

  private static let data: [OptionRule<TrainingOptions>] = [
    OptionRule("packing_without_lazy") { options in
      options.data.packing && options.data.lazyTokenize == true
        ? "Packing and lazy_tokenize are incompatible." : nil
    },
    OptionRule("streaming_without_lazy") { options in
      options.data.streaming && options.data.lazyTokenize == true
        ? "Streaming and lazy_tokenize are incompatible." : nil
    },
    OptionRule("streaming_needs_train_iters") { options in
      options.data.streaming && options.schedule.trainIters == nil
        ? "--streaming true does not know how many rows there are: set --train_iters" : nil
    },
    OptionRule("streaming_needs_eval_iters") { options in
      options.data.streaming && !options.data.valDataset.isEmpty && options.logging.evalIters < 0
        ? "--streaming true does not know how many validation rows there are: set --eval_iters"
        : nil
    },
    OptionRule("cached_without_context_parallel") { options in
      !options.data.cachedDataset.isEmpty && options.parallel.context > 1
        ? "--cached_dataset is not supported with --context_parallel_size above 1" : nil
    },
    OptionRule("cached_is_neither_lazy_nor_streamed") { options in
      !options.data.cachedDataset.isEmpty
        && (options.data.streaming || options.data.lazyTokenize == true)
        ? "--cached_dataset is encoded already: leave out --streaming and --lazy_tokenize" : nil
    },
    OptionRule("mlp_padding_free_without_sequence_parallel") { options in
      options.data.mlpPaddingFree && options.parallel.sequenceParallel
        ? "--mlp_padding_free and --sequence_parallel are not compatible" : nil
    },
    OptionRule("interleave_probabilities") { options in
      guard let parts = options.data.interleaveProb else { return nil }
      let valid = parts.allSatisfy { $0 >= 0 && $0.isFinite } && parts.contains { $0 > 0 }
      guard parts.count == options.data.dataset.count, valid else {
        return "--interleave_prob needs one probability for each of the "
          + "\(options.data.dataset.count) data sets, got \(parts.count)"
      }
      return nil
    },
    OptionRule("swift_form_packing_attention") { options in
      guard options.form == .swift, options.data.packing || options.data.paddingFree else {
        return nil
      }
      let flash = ["flash_attn", "flash_attention_2", "flash_attention_3"]
      if let name = options.attention.attnImpl, flash.contains(name) { return nil }
      return "packing and padding_free need --attn_impl flash_attn in the form of swift sft"
    },
  ]

  private static let schedule: [OptionRule<TrainingOptions>] = [
    OptionRule("length_of_training") { options in
      // Data can be examined without saying how long they will be trained on.
      options.schedule.trainIters == nil && options.schedule.maxEpochs == nil
        && !options.run.doctor
        ? "either train-iters or train-samples should be provided: set --max_epochs or --train_iters"
        : nil
    },
    OptionRule("batch_divides") { options in
      let rows = options.schedule.microBatchSize.multipliedReportingOverflow(
        by: options.dataParallelSize)
      guard rows.overflow || options.schedule.globalBatchSize % rows.partialValue != 0 else {
        return nil
      }
      return "--global_batch_size \(options.schedule.globalBatchSize) is not divisible by "
        + "--micro_batch_size \(options.schedule.microBatchSize) times the data-parallel size "
        + "\(options.dataParallelSize)"
    },
    OptionRule("one_warmup") { options in
      options.schedule.lrWarmupFraction != nil && options.schedule.lrWarmupIters != 0
        ? "--lr_warmup_fraction and --lr_warmup_iters exclude each other" : nil
    },
    OptionRule("warmup_before_decay_ends") { options in
      let decay = options.schedule.lrDecayIters ?? options.schedule.trainIters
      if let fraction = options.schedule.lrWarmupFraction, fraction >= 1 {
        return "warm-up must be shorter than the decay: --lr_warmup_fraction is \(fraction)"
      }
      guard let decay, options.schedule.lrWarmupIters >= decay else { return nil }
      return "warm-up must be shorter than the decay: --lr_warmup_iters "
        + "\(options.schedule.lrWarmupIters), decay \(decay)"
    },
    OptionRule("min_lr_below_lr") { options in
      guard let lr = options.schedule.lr, options.schedule.minLR > lr else { return nil }
      return "--min_lr \(options.schedule.minLR) is above --lr \(lr)"
    },
    OptionRule("warmup_init_below_lr") { options in
      guard let lr = options.schedule.lr, options.extra.lrWarmupInit > lr else { return nil }
      return "lr_warmup_init \(options.extra.lrWarmupInit) is above --lr \(lr)"
    },
    OptionRule("wsd_needs_decay") { options in
      options.schedule.lrDecayStyle == .wsd && options.schedule.lrWSDDecayIters == nil
        ? "--lr_decay_style WSD needs --lr_wsd_decay_iters" : nil
    },
  ]

  private static let optimizer: [OptionRule<TrainingOptions>] = [
    OptionRule("offload_needs_precision_aware") { options in
      options.optimizer.cpuOffload && !options.optimizer.usePrecisionAware
        ? "--optimizer_cpu_offload needs --use_precision_aware_optimizer true" : nil
    },
    OptionRule("precision_aware_needs_adam") { options in
      options.optimizer.usePrecisionAware && options.optimizer.kind != .adam
        ? "--use_precision_aware_optimizer needs --optimizer adam" : nil
    },
    OptionRule("precision_aware_needs_distributed") { options in
      options.optimizer.usePrecisionAware && !options.parallel.useDistributedOptimizer
        ? "--use_precision_aware_optimizer needs --use_distributed_optimizer true" : nil
    },
    OptionRule("state_types_need_precision_aware") { options in
      let state = options.optimizer
      guard !state.usePrecisionAware else { return nil }
      let reduced = [
        ("main_params_dtype", state.mainParamsDType.rawValue),
        ("main_grads_dtype", state.mainGradsDType.rawValue),
        ("exp_avg_dtype", state.expAvgDType.rawValue),
        ("exp_avg_sq_dtype", state.expAvgSqDType.rawValue),
      ].filter { $0.1 != "fp32" }.map { "--\($0.0) \($0.1)" }
      guard !reduced.isEmpty else { return nil }
      return "\(reduced.joined(separator: ", ")) needs --use_precision_aware_optimizer true"
    },
    OptionRule("one_far_tier") { options in
      options.optimizer.offloadDir != nil && options.optimizer.offloadNUMA != nil
        ? "--optimizer_offload_dir and --optimizer_offload_numa exclude each other" : nil
    },
    OptionRule("param_gather_needs_distributed") { options in
      options.parallel.overlapParamGather && !options.parallel.useDistributedOptimizer
        ? "--overlap_param_gather needs --use_distributed_optimizer true" : nil
    },
    OptionRule("param_gather_needs_grad_reduce") { options in
      options.parallel.overlapParamGather && !options.parallel.overlapGradReduce
        ? "--overlap_param_gather needs --overlap_grad_reduce true" : nil
    },
  ]

  private static let recompute: [OptionRule<TrainingOptions>] = [
    OptionRule("full_recompute_needs_method") { options in
      options.recompute.granularity == .full && options.recompute.method == nil
        ? "--recompute_granularity full needs --recompute_method uniform or block" : nil
    },
    OptionRule("full_recompute_needs_layers") { options in
      options.recompute.granularity == .full && options.recompute.numLayers == nil
        ? "--recompute_granularity full needs --recompute_num_layers" : nil
    },
    OptionRule("selective_recompute_without_layers") { options in
      options.recompute.granularity == .selective && options.recompute.numLayers != nil
        ? "--recompute_num_layers belongs to --recompute_granularity full" : nil
    },
    OptionRule("selective_recompute_without_method") { options in
      options.recompute.granularity == .selective && options.recompute.method != nil
        ? "--recompute_method belongs to --recompute_granularity full" : nil
    },
    OptionRule("moe_layer_recompute_is_selective") { options in
      options.recompute.granularity == .full && options.recompute.moeLayer
        ? "--moe_layer_recompute and --recompute_granularity full exclude each other" : nil
    },
    OptionRule("moe_act_needs_grouped") { options in
      options.recompute.granularity == .selective && options.recompute.modules.contains("moe_act")
        && !options.experts.groupedGEMM
        ? "--recompute_modules moe_act needs --moe_grouped_gemm true" : nil
    },
    OptionRule("mla_recompute_needs_mla") { options in
      options.recompute.granularity == .selective
        && options.recompute.modules.contains("mla_up_proj")
        ? "--recompute_modules mla_up_proj needs latent attention, which these models do not have"
        : nil
    },
  ]
}
