/// Joins rows into a micro-batch.
public struct BatchAssembly: Sendable, Equatable {
  /// Token of the padding (`<|endoftext|>` in Qwen3).
  public var padToken: Int32
  /// The sequence length is padded to a multiple of it: tensor-parallel size with sequence
  /// parallelism; 1 pads nothing.
  public var multiple: Int
  /// `--padding_free`: true joins rows end to end; false pads each to the longest.
  public var paddingFree: Bool

  public init(padToken: Int32 = 151_643, multiple: Int = 1, paddingFree: Bool = true) {
    self.padToken = padToken
    self.multiple = max(multiple, 1)
    self.paddingFree = paddingFree
  }

  /// Joins documents into one batch of `t` tokens.
  ///
  /// Positions restart at 0 in each document. A padding token has position 0, label −100 and weight
  /// 0 and is a document of its own, so nothing attends to it. With `paddingFree` false the batch is
  /// the rows `[b, s]` laid end to end, `s` the padded longest: right padding behind a causal mask
  /// is never seen, so documents give the same result as an explicit mask.
  /// - Returns: `channels` and `sampleCount` count the documents given, not the padding.
  public func assemble(_ documents: [EncodedRow]) -> PackedBatch {
    let weighted = documents.contains { $0.lossScale != nil }
    var batch = PackedBatch(
      inputIDs: [], labels: [], lossScale: weighted ? [] : nil, positions: [], cuSeqlens: [0],
      channels: documents.map(\.channel), sampleCount: documents.count)
    batch.media = documents.flatMap(\.media)
    let longest = rounded(documents.map(\.inputIDs.count).max() ?? 0)
    for document in documents {
      append(document, to: &batch)
      if !paddingFree { pad(&batch, by: longest - document.inputIDs.count) }
    }
    pad(&batch, by: rounded(batch.inputIDs.count) - batch.inputIDs.count)
    return batch
  }

  private func rounded(_ count: Int) -> Int { (count + multiple - 1) / multiple * multiple }

  private func append(_ document: EncodedRow, to batch: inout PackedBatch) {
    guard !document.inputIDs.isEmpty else { return }
    batch.inputIDs += document.inputIDs
    batch.labels += document.labels
    batch.positions += (0..<document.inputIDs.count).map { Int32($0) }
    // A row without weights has 1 where it is trained, beside rows that have some.
    batch.lossScale? += document.lossScale ?? document.labels.map { $0 == -100 ? 0 : 1 }
    batch.cuSeqlens.append(Int32(batch.inputIDs.count))
  }

  private func pad(_ batch: inout PackedBatch, by count: Int) {
    for _ in 0..<count {
      batch.inputIDs.append(padToken)
      batch.labels.append(-100)
      batch.positions.append(0)
      batch.lossScale?.append(0)
      batch.cuSeqlens.append(Int32(batch.inputIDs.count))
    }
  }
}
