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
    StoredName.candidates(name, config).contains {
      reader[$0.key] != nil || reader[$0.key + "_w"] != nil
    }
  }

  /// Where a tensor lies: whole, or gate and up rows apart, as some models store a gated layer.
  private struct Place {
    let stored: StoredName
    let parts: [StoredTensor]
    var rows: [Int] { parts.map { $0.spec.shape[stored.leading.count] } }

    /// The box of rows of a part. Columns are those of the rows laid flat: with more than one dim
    /// behind them, or for nil, all.
    func ranges(_ part: StoredTensor, rows: Range<Int>, columns: Range<Int>?) -> [Range<Int>] {
      var ranges = stored.leading.map { $0.index..<$0.index + 1 }
      ranges.append(rows)
      let rest = part.spec.shape.dropFirst(ranges.count)
      if let columns, rest.count == 1 { return ranges + [columns] }
      return ranges + rest.map { 0..<$0 }
    }
  }

  private func find(_ name: String) throws(Fault) -> Place {
    let candidates = StoredName.candidates(name, config)
    for candidate in candidates {
      if let whole = reader[candidate.key] { return Place(stored: candidate, parts: [whole]) }
      if let gate = reader[candidate.key + "_w"], let up = reader[candidate.key + "_v"] {
        return Place(stored: candidate, parts: [gate, up])
      }
    }
    if reader.index.tensors.keys.contains(where: { $0.contains(".lora_") }) {
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

  /// Holds the keys of the checkpoint against those a model uses: nothing is dropped in silence.
  /// - Throws: `MODEL-103` naming weights that belong to no part of the model.
  func checkUsed(_ names: [String]) throws(Fault) {
    var unused = Set(
      reader.index.tensors.keys.filter {
        !$0.hasPrefix("optimizer.") && !$0.hasPrefix("chained_") && !$0.contains("_extra_state")
      })
    for name in names {
      for part in try find(name).parts { unused.remove(part.spec.name) }
    }
    // Some runs store the output layer of a tied model as well; it is the embedding.
    if config.tiesEmbeddings {
      unused = unused.filter { !$0.hasSuffix("output_layer.weight") }
    }
    guard unused.isEmpty else {
      let sorted = unused.sorted()
      throw Fault(
        .badModelWeights, "the checkpoint holds weights that belong to no part of the model",
        at: .file(reader.folder),
        found: sorted.prefix(8).joined(separator: ", ")
          + (sorted.count > 8 ? ", and \(sorted.count - 8) more" : ""),
        fix: "check that the config.json belongs to this checkpoint")
    }
  }

  func describe(_ name: String) throws(Fault) -> (dtype: DType, shape: [Int]) {
    let place = try find(name)
    let leading = place.stored.leading
    for part in place.parts {
      let shape = part.spec.shape
      guard shape.count > leading.count, zip(leading, shape).allSatisfy({ $0.count == $1 }) else {
        throw Fault(
          .badModelWeights, "\(place.stored.key) stacks another number of layers or experts",
          at: .tensor(part.spec.name, file: reader.folder),
          expected: "\(leading.map(\.count))", found: "\(shape)")
      }
    }
    let first = place.parts[0].spec
    return (
      first.dtype, [place.rows.reduce(0, +)] + first.shape.dropFirst(leading.count + 1)
    )
  }

  func read(
    _ name: String, rows: Range<Int>, columns: Range<Int>,
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let place = try find(name)
    let rowBytes = rows.isEmpty ? 0 : target.count / rows.count
    var begin = 0
    for (part, count) in zip(place.parts, place.rows) {
      let wanted = rows.clamped(to: begin..<begin + count)
      defer { begin += count }
      if wanted.isEmpty { continue }
      let from = (wanted.lowerBound - rows.lowerBound) * rowBytes
      try reader.read(
        part.spec.name,
        ranges: place.ranges(
          part, rows: wanted.lowerBound - begin..<wanted.upperBound - begin, columns: columns),
        into: UnsafeMutableRawBufferPointer(
          rebasing: target[from..<from + wanted.count * rowBytes]))
    }
  }

  func stream(
    _ name: String, rows: Range<Int>, wholly: Bool, through memory: StreamMemory,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    let place = try find(name)
    var begin = 0
    for (part, count) in zip(place.parts, place.rows) {
      let wanted = rows.clamped(to: begin..<begin + count)
      defer { begin += count }
      if wanted.isEmpty { continue }
      try reader.stream(
        part.spec.name,
        ranges: place.ranges(
          part, rows: wanted.lowerBound - begin..<wanted.upperBound - begin, columns: nil),
        wholly: wholly, through: memory, emit)
    }
  }
}
