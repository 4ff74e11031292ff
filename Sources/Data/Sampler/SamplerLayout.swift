import Support

/// How rows are handed to data-parallel ranks.
public enum SamplerKind: String, Sendable {
  /// Shuffled anew in each epoch, with the epoch's number as seed.
  case cyclic
  /// In order, without shuffling.
  case single
  /// A stream of unknown length, dealt out in order.
  case external
}

/// Which rows form which micro-batch: a pure function of epoch, place and rank, so any position is
/// reached without walking to it.
///
/// Source: training.md 3.1; Megatron-LM core 0.13 `MegatronPretrainingSampler` and
/// `MegatronPretrainingRandomSampler`.
public struct SamplerLayout: Sendable, Equatable {
  public let kind: SamplerKind
  /// Rows (packs when packing) of the data set.
  public let rows: Int
  public let microBatchSize: Int
  public let dataParallelSize: Int
  /// Each rank shuffles a shard of its own; false = all ranks deal from one permutation.
  public let dataSharding: Bool
  /// Micro-batches of a step where an epoch ends with a step of what is left, as in the form of swift
  /// sft; nil where rows that fill no micro-batch are dropped.
  public let stepOfRest: Int?

  /// - Throws: `DATA-111` when not one micro-batch per rank can be filled.
  public init(
    kind: SamplerKind, rows: Int, microBatchSize: Int, dataParallelSize: Int,
    dataSharding: Bool = true, stepOfRest: Int? = nil
  ) throws(Fault) {
    guard microBatchSize > 0, dataParallelSize > 0 else {
      throw Fault(
        .badSampler,
        "micro_batch_size \(microBatchSize) and data-parallel size "
          + "\(dataParallelSize) must be at least 1", at: .flag("micro_batch_size"))
    }
    guard rows >= (stepOfRest == nil ? microBatchSize * dataParallelSize : 1) else {
      throw Fault(
        .badSampler, "the data set has \(rows) rows, too few for one step",
        expected: "at least micro_batch_size × data-parallel size = "
          + "\(microBatchSize) × \(dataParallelSize)",
        fix: "give more rows, turn packing off, or use fewer data-parallel ranks")
    }
    self.kind = kind
    self.rows = rows
    self.microBatchSize = microBatchSize
    self.dataParallelSize = dataParallelSize
    self.dataSharding = dataSharding && stepOfRest == nil
    self.stepOfRest = stepOfRest
  }

  /// Rows that all ranks take together in one micro-batch (B).
  public var stepBatch: Int { microBatchSize * dataParallelSize }
  /// Micro-batches of each rank in an epoch; with a step of the rest its places, some of them empty.
  public var microBatchesPerEpoch: Int {
    guard let stepOfRest else { return rows / stepBatch }
    let filled = (rows + stepBatch - 1) / stepBatch
    return (filled + stepOfRest - 1) / stepOfRest * stepOfRest
  }
  /// Rows used in an epoch (N'), or its places; the rest is never used.
  public var usableRows: Int { microBatchesPerEpoch * stepBatch }
  /// Micro-batches with at least one row on some rank.
  public var filledMicroBatches: Int {
    stepOfRest == nil ? microBatchesPerEpoch : (rows + stepBatch - 1) / stepBatch
  }

  /// Rows that are permuted together.
  private var bucket: Int {
    if stepOfRest != nil { return rows }
    return dataSharding
      ? microBatchesPerEpoch * microBatchSize : rows / microBatchSize * microBatchSize
  }

  /// The order of an epoch; needed once per epoch.
  func permutation(epoch: Int) -> [Int] {
    kind == .cyclic ? torchPermutation(bucket, seed: epoch) : []
  }

  /// Rows of micro-batch `index` (from 0 in its epoch) of rank `rank`; with a step of the rest there may
  /// be fewer than its size, or none.
  /// - Parameter permutation: of that epoch, from `permutation(epoch:)`.
  func rows(microBatch index: Int, rank: Int, permutation: [Int]) -> [Int] {
    if stepOfRest != nil {
      let start = min(index * stepBatch + rank * microBatchSize, rows)
      let own = start..<min(start + microBatchSize, rows)
      return kind == .cyclic ? Array(permutation[own]) : Array(own)
    }
    guard kind == .cyclic else {
      let start = index * stepBatch + rank * microBatchSize
      return Array(start..<(start + microBatchSize))
    }
    if dataSharding {
      let start = index * microBatchSize
      return permutation[start..<(start + microBatchSize)].map { rank * bucket + $0 }
    }
    return (0..<microBatchSize).map {
      permutation[index * stepBatch + $0 * dataParallelSize + rank]
    }
  }
}
