import Checkpoint
import Model
import Support
import Tensor

/// The weights of a Megatron checkpoint under our names.
struct MegatronWeights: WeightSource {
  let reader: TorchDistReader
  let config: QwenConfig

  /// A source that is read once, in parts, each checked; call `reader.finishChecks` at the end.
  init(streaming folder: String, _ config: QwenConfig) throws(Fault) {
    reader = try TorchDistReader(folder, use: .once, checks: PieceChecks())
    self.config = config
  }

  /// - Parameter path: the folder with the tracker, or an iteration folder.
  /// - Throws: `CKPT-…` when there is no whole checkpoint.
  init(_ folder: String, _ config: QwenConfig) throws(Fault) {
    reader = try TorchDistReader(folder)
    self.config = config
  }

  /// - Parameter reader: of a checkpoint that was checked already.
  init(_ reader: TorchDistReader, _ config: QwenConfig) {
    self.reader = reader
    self.config = config
  }

  /// Whether the checkpoint has a tensor of that name, stacked or not.
  func has(_ name: String) -> Bool {
    StoredName.candidates(name, config).contains { reader[$0.key] != nil }
  }

  private func find(_ name: String) throws(Fault) -> (StoredName, StoredTensor) {
    let candidates = StoredName.candidates(name, config)
    for candidate in candidates {
      if let stored = reader[candidate.key] { return (candidate, stored) }
    }
    if reader.index.tensors.keys.contains(where: { $0.contains(".lora_A.") }) {
      throw Fault(
        .badModelWeights, "the checkpoint holds adapters, not whole weights",
        at: .file(reader.folder),
        fix: "name it with --mcore_adapters (in training --adapter_load) and the base with "
          + "--mcore_model (--load)")
    }
    throw Fault(
      .badModelWeights, "the checkpoint has no tensor \(candidates[0].key)",
      at: .tensor(name, file: reader.folder),
      fix: "check that the config.json belongs to this checkpoint")
  }

  func describe(_ name: String) throws(Fault) -> (dtype: DType, shape: [Int]) {
    let (place, stored) = try find(name)
    let shape = stored.spec.shape
    guard shape.count > place.leading.count,
      zip(place.leading, shape).allSatisfy({ $0.count == $1 })
    else {
      throw Fault(
        .badModelWeights, "\(place.key) stacks another number of layers or experts",
        at: .tensor(place.key, file: reader.folder),
        expected: "\(place.leading.map(\.count))", found: "\(shape)")
    }
    return (stored.spec.dtype, Array(shape.dropFirst(place.leading.count)))
  }

  func read(
    _ name: String, rows: Range<Int>, columns: Range<Int>,
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let (place, stored) = try find(name)
    var ranges = place.leading.map { $0.index..<$0.index + 1 }
    ranges.append(rows)
    if stored.spec.shape.count > ranges.count { ranges.append(columns) }
    try reader.read(place.key, ranges: ranges, into: target)
  }
}
