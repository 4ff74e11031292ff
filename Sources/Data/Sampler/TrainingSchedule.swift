import Support

/// How micro-batches are grouped into steps, and where training ends.
///
/// Micro-batches run on over epoch ends, so a step may hold rows of two epochs; only complete steps
/// are taken, so the leftovers of the last epoch are dropped (training.md 3).
public struct TrainingSchedule: Sendable, Equatable {
  public let layout: SamplerLayout
  public let globalBatchSize: Int
  /// nil = epochs without end.
  public let maxEpochs: Int?

  /// - Throws: `DATA-111` if the global batch is no multiple of the step batch.
  public init(
    layout: SamplerLayout, globalBatchSize: Int, maxEpochs: Int?
  ) throws(Fault) {
    guard globalBatchSize > 0, globalBatchSize % layout.stepBatch == 0 else {
      throw Fault(
        .badSampler,
        "global_batch_size \(globalBatchSize) is no multiple of micro_batch_size "
          + "\(layout.microBatchSize) × data-parallel size \(layout.dataParallelSize)",
        at: .flag("global_batch_size"))
    }
    self.layout = layout
    self.globalBatchSize = globalBatchSize
    self.maxEpochs = maxEpochs
  }

  /// Micro-batches of each rank in a step (M).
  public var microBatchesPerStep: Int { globalBatchSize / layout.stepBatch }

  /// `train_iters` where it is not set: ⌊N'·max_epochs / global batch⌋; nil without `maxEpochs`.
  public var trainIterations: Int? {
    maxEpochs.map { layout.usableRows * $0 / globalBatchSize }
  }

  /// Evaluation steps where `eval_iters` is not set: ⌊N'/global batch⌋, at least 1.
  public var evaluationIterations: Int { max(layout.usableRows / globalBatchSize, 1) }

  /// Micro-batches of each rank until the data ends, nil for no end.
  public var microBatchLimit: Int? { trainIterations.map { $0 * microBatchesPerStep } }

  /// Epoch (from 0) and place in it of the micro-batch that follows `consumed` samples.
  /// - Throws: `DATA-112` if `consumed` lies inside a micro-batch.
  public func position(consumed: Int) throws(Fault) -> (epoch: Int, microBatch: Int) {
    guard consumed >= 0, consumed % layout.stepBatch == 0 else {
      throw Fault(
        .badResume, "\(consumed) consumed samples end inside a micro-batch of this layout",
        expected: "a multiple of micro_batch_size × data-parallel size = \(layout.stepBatch)",
        fix: "resume with the batch sizes of the run that saved the checkpoint")
    }
    let index = consumed / layout.stepBatch
    return (index / layout.microBatchesPerEpoch, index % layout.microBatchesPerEpoch)
  }
}
