import Checkpoint
import Model
import Support

/// `common.pt`: plain values only, the ones Megatron's loader insists on and the position of the run.
struct MegatronCommon {
  let config: QwenConfig
  var iteration: Int
  var parallel = ParallelFlags()
  var position = TrainingPosition()
  var hasOptimizer = false

  init(_ config: QwenConfig, iteration: Int) {
    self.config = config
    self.iteration = iteration
  }

  init(_ run: TrainingRun) {
    config = run.folder.config
    iteration = run.position.iteration
    parallel = run.options.parallel
    position = run.position
    hasOptimizer = !run.options.checkpoint.noSaveOptim
  }

  var state: CommonState {
    var args: [(String, PickleValue)] = [
      ("tensor_model_parallel_size", .int(parallel.tensor)),
      ("pipeline_model_parallel_size", .int(parallel.pipeline)),
      ("context_parallel_size", .int(parallel.context)),
      ("expert_model_parallel_size", .int(parallel.expert)),
      ("expert_tensor_parallel_size", .int(parallel.expertTensor)),
      ("num_layers", .int(config.layerCount)), ("hidden_size", .int(config.hiddenSize)),
      ("ffn_hidden_size", .int(config.intermediateSize)),
      ("num_attention_heads", .int(config.headCount)),
      ("num_query_groups", .int(config.groupCount)), ("kv_channels", .int(config.headSize)),
      ("add_position_embedding", .bool(true)),
      ("max_position_embeddings", .int(config.maxPositions)),
      ("make_vocab_size_divisible_by", .int(128)),
      ("padded_vocab_size", .int(config.vocabularySize)),
      ("untie_embeddings_and_output_weights", .bool(!config.tiesEmbeddings)),
      ("no_save_optim", .bool(!hasOptimizer)), ("no_save_rng", .bool(true)),
      ("consumed_train_samples", .int(position.consumedTrainSamples)),
      ("skipped_train_samples", .int(0)),
      ("consumed_valid_samples", .int(position.consumedValidationSamples)),
      ("ckpt_fully_parallel_save", .bool(true)),
    ]
    if let experts = config.experts {
      args.append(("num_experts", .int(experts.count)))
      args.append(("moe_router_topk", .int(experts.topK)))
      args.append(("moe_ffn_hidden_size", .int(experts.intermediateSize)))
    }
    return CommonState(iteration: iteration, args: args)
  }
}
