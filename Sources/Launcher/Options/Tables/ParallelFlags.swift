import Support

/// How the ranks share the work.
public struct ParallelFlags: Sendable {
  public var tensor = 1
  public var pipeline = 1
  public var context = 1
  public var expert = 1
  public var expertTensor = 1
  public var sequenceParallel = false
  public var useDistributedOptimizer = true
  public var overlapGradReduce = false
  public var overlapParamGather = false

  public init() {}

  private static let noPipeline =
    "pipeline parallelism is not built yet; use tensor, expert and data parallelism"
  private static let noContext =
    "context parallelism is not built yet; use tensor parallelism with --sequence_parallel true"

  /// The sizes that every program with ranks has.
  static let layoutRows: [Option<ParallelFlags>] = [
    Option(\.tensor, "tensor_model_parallel_size", "Ranks that share each weight matrix.").atLeast(
      1),
    Option(\.pipeline, "pipeline_model_parallel_size", "Ranks that share the layers.").atLeast(1)
      .refused(noPipeline),
    Option(\.context, "context_parallel_size", "Ranks that share each row.").atLeast(1).refused(
      noContext),
    Option(\.expert, "expert_model_parallel_size", "Ranks that share the experts.").atLeast(1),
    Option(\.expertTensor, "expert_tensor_parallel_size", "Ranks that share each expert.").atLeast(
      1),
    .init(
      \.sequenceParallel, "sequence_parallel",
      "Split norms and residuals over the tensor-parallel ranks."),
  ].under(.parallel)

  static let trainingRows: [Option<ParallelFlags>] = [
    .init(
      \.useDistributedOptimizer, "use_distributed_optimizer",
      "Split the optimizer state over the data-parallel ranks (ZeRO-1)."),
    .init(
      \.overlapGradReduce, "overlap_grad_reduce",
      "Reduce gradients while the backward pass goes on."),
    .init(
      \.overlapParamGather, "overlap_param_gather",
      "Gather weights while the next forward pass goes on; needs --overlap_grad_reduce."),
    Option(recorded: "decoder_first_pipeline_num_layers", .int, "Layers of the first stage.")
      .refused(noPipeline),
    Option(recorded: "decoder_last_pipeline_num_layers", .int, "Layers of the last stage.").refused(
      noPipeline),
    Option(recorded: "pipeline_model_parallel_layout", .text, "Layers of every stage.").refused(
      noPipeline),
    Option(recorded: "num_layers_per_virtual_pipeline_stage", .int, "Interleaved schedule.")
      .refused(noPipeline),
    Option(recorded: "num_virtual_stages_per_pipeline_rank", .int, "Interleaved schedule.").refused(
      noPipeline),
    Option(
      recorded: "microbatch_group_size_per_virtual_pipeline_stage", .int, "Interleaved schedule."
    ).refused(noPipeline),
    Option(recorded: "sequence_parallel_size", .int, "Internal name of the context-parallel size.")
      .noEffect("--context_parallel_size counts"),
    Option(
      recorded: "tp_comm_overlap", .bool, .bool(false), "Overlap tensor-parallel communication."
    )
    .noEffect("communication and computation alternate"),
    Option(
      recorded: "distributed_backend", .choice(["nccl", "gloo"]), .text("nccl"),
      "Communication library."
    )
    .noEffect("ranks talk through MPI and shared memory"),
    Option(recorded: "distributed_timeout_minutes", .int, .int(300000), "Time-out of collectives.")
      .noEffect("MPI has none; --hang_seconds ends a job that hangs"),
    Option(recorded: "ddp_backend", .text, "Communication library.").noEffect(
      "ranks talk through MPI and shared memory"),
    Option(recorded: "ddp_timeout", .int, .int(18_000_000), "Time-out of collectives in seconds.")
      .noEffect("MPI has none; --hang_seconds ends a job that hangs"),
  ].under(.parallel)
}
