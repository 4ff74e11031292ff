/// How the samples of a set become the micro-batches of one data-parallel rank.
public struct BatchPlan: Sendable, Equatable {
  /// `--dataloader_type`; a stream is always dealt out in order.
  public var kind = SamplerKind.cyclic
  public var microBatchSize = 1
  public var dataParallelRank = 0
  public var dataParallelSize = 1
  public var globalBatchSize = 1
  /// nil = epochs without end.
  public var maxEpochs: Int?
  public var dataSharding = true
  /// An epoch ends with a step of the rows that are left.
  public var keepsRest = false
  public var assembly = BatchAssembly()
  /// `--num_workers`: threads that prepare batches ahead; 0 = when they are asked for.
  public var workers = 4
  /// `--dataloader_prefetch_factor`: batches ready per worker.
  public var prefetch = 10
  public init() {}
}
