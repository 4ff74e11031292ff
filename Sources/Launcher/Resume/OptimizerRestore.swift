import Checkpoint
import Model
import Optim
import Parallel
import Support
import Tensor

/// Fills an optimizer from a checkpoint, whatever layout wrote it and whatever this one is.
struct OptimizerRestore {
  let optimizer: DistributedOptimizer
  let config: QwenConfig
  let groups: RankGroups
  let loaded: LoadedCheckpoint
  /// Scales of scaled states by the run they belong to, where this layout is that of the save.
  var scales: [String: Float] = [:]

  /// - Returns: sentences for the log.
  /// - Throws: on all ranks `CKPT-140` without states, `CKPT-151` when they belong to other
  ///   parameters or another layout that cannot be read.
  func apply() throws(Fault) -> [String] {
    let layout = OptimizerStates.layout(loaded.reader, loaded.common)
    var notes: [String] = []
    let step: Int = try groups.world.agreeing { () throws(Fault) in
      switch layout {
      case .byParameter: notes = try byParameter()
      case .flatBuffers: try flatBuffers()
      case .none: throw OptimizerRestore.missing(loaded)
      case .other(let kind):
        throw Fault(
          .badOptimizerState, "optimizer states of the kind \(kind) are not read",
          at: .file(loaded.folder),
          expected: "fully_reshardable, fully_sharded_model_space or dp_reshardable",
          fix: "save with --dist-ckpt-optim-fully-reshardable, or give --no_load_optim true")
      }
      return try StoredStep(loaded).value
    }
    try optimizer.finishImport(step: step, hasMasters: true)
    return notes
  }

  static func missing(_ loaded: LoadedCheckpoint) -> Fault {
    Fault(
      .noOptimizerState, "the checkpoint holds no optimizer state to go on with",
      at: .file(loaded.folder),
      fix: "Specify --no_load_optim true (go on with new moments) or --finetune true (begin anew)")
  }

  // MARK: States by parameter

  private func byParameter() throws(Fault) -> [String] {
    let states = OptimizerStates(loaded.reader)
    let parts = optimizer.stateKinds.compactMap { OptimizerPart(rawValue: $0.rawValue) }
    try checkKeys(states, parts.filter { $0 != .master })
    var withoutMaster = 0
    for item in optimizer.parameters {
      let parameter = item.parameter
      for (kind, part) in zip(optimizer.stateKinds, parts) {
        guard let place = place(parameter, part, states) else {
          withoutMaster += 1
          try masterFromWeight(parameter)
          continue
        }
        let source = StateSource(states: states, part: part, place: place, parameter: parameter)
        try source.check(loaded.folder)
        try optimizer.importState(
          kind, of: parameter.name,
          scale: { scales[ScaleName(kind, parameter, $0).text] }
        ) { (range, values) throws(Fault) in try source.read(range, into: values) }
      }
    }
    guard withoutMaster > 0 else { return [] }
    return [
      "the checkpoint has no master weights for \(withoutMaster) parameters: they begin at the weights"
    ]
  }

  /// Where a part of a parameter is stored; nil when it is not.
  private func place(
    _ parameter: Parameter, _ part: OptimizerPart, _ states: OptimizerStates
  ) -> StoredName? {
    StoredName.candidates(parameter.name, config).first {
      states.spec(part, of: $0.key) != nil
    }
  }

  /// Every trained parameter needs its states; states of others mean that more was trained before.
  private func checkKeys(_ states: OptimizerStates, _ parts: [OptimizerPart]) throws(Fault) {
    var missing: [String] = []
    for part in parts {
      for item in optimizer.parameters where place(item.parameter, part, states) == nil {
        missing.append("\(part.rawValue) of \(item.parameter.name)")
      }
    }
    guard !missing.isEmpty else { return }
    let shown = missing.prefix(5).joined(separator: ", ")
    throw Fault(
      .badOptimizerState,
      "the checkpoint trained other parameters or with another optimizer: \(missing.count) states "
        + "are not there: \(shown)\(missing.count > 5 ? ", …" : "")", at: .file(loaded.folder),
      fix: "give the freeze flags and the --optimizer of the saved run, or --no_load_optim true")
  }

  private func masterFromWeight(_ parameter: Parameter) throws(Fault) {
    let wide = try parameter.tensor.converted(to: .float32)
    try optimizer.importState(.master, of: parameter.name) { (range, values) in
      for (i, place) in range.enumerated() { values[i] = wide.floats[place] }
    }
  }

  // MARK: Flat buffers

  /// Buffers of megatron-core 0.15 and newer (`dp_reshardable`), which only the same split of the
  /// model can use.
  private func flatBuffers() throws(Fault) {
    try FlatLayout.check(loaded, groups)
    for isExpert in [false, true] {
      let own = optimizer.parameters.map(\.parameter).filter { $0.role.isExpert == isExpert }
      guard !own.isEmpty else { continue }
      let buffers = try FlatLayout(config: config, groups: groups).states(
        of: own, isExpert: isExpert, loaded.reader)
      for parameter in own {
        for kind in optimizer.stateKinds {
          guard let part = OptimizerPart(rawValue: kind.rawValue) else { continue }
          try optimizer.importState(kind, of: parameter.name) {
            (range, values) throws(Fault) in
            try FlatLayout.read(range, of: parameter, part, buffers, into: values)
          }
        }
      }
    }
  }
}

/// One part of one parameter in a checkpoint.
private struct StateSource {
  let states: OptimizerStates
  let part: OptimizerPart
  let place: StoredName
  let parameter: Parameter

  /// - Throws: `CKPT-151` for another shape or type than the parameter's.
  func check(_ folder: String) throws(Fault) {
    guard let spec = states.spec(part, of: place.key) else { return }
    let shape = place.leading.map(\.count) + parameter.slices.globalShape
    guard spec.shape == shape else {
      throw Fault(
        .badOptimizerState, "its \(part.rawValue) has another shape than the parameter",
        at: .tensor(parameter.name, file: folder), expected: "\(shape)", found: "\(spec.shape)")
    }
    let isRemainder =
      part == .master && spec.dtype == .int16 && parameter.tensor.dtype == .bfloat16
    guard spec.dtype == .float32 || isRemainder else {
      throw Fault(
        .badOptimizerState, "its \(part.rawValue) is stored as \(spec.dtype.rawValue)",
        at: .tensor(parameter.name, file: folder), expected: "F32")
    }
  }

  /// The values of a flat run of the local tensor.
  func read(_ range: Range<Int>, into values: UnsafeMutableBufferPointer<Float>) throws(Fault) {
    if states.spec(part, of: place.key)?.dtype == .int16 {
      return try joinRemainder(range, into: values)
    }
    for piece in StatePieces.cut(range, of: parameter.slices, merging: false) {
      let target = piece.local[0].shifted(by: -range.lowerBound)
      try fetch(
        piece.box,
        into: UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: values[target])))
    }
  }

  /// A master stored as the lower halves of its words: the bf16 weights hold the upper ones.
  private func joinRemainder(
    _ range: Range<Int>, into values: UnsafeMutableBufferPointer<Float>
  ) throws(Fault) {
    let weights = parameter.tensor.pointer(as: UInt16.self)
    try ScratchBytes.with(range.count * 2) { (raw) throws(Fault) in
      for piece in StatePieces.cut(range, of: parameter.slices, merging: false) {
        let target = piece.local[0].shifted(by: -range.lowerBound)
        try fetch(
          piece.box,
          into: UnsafeMutableRawBufferPointer(
            rebasing: raw[target.lowerBound * 2..<target.upperBound * 2]))
      }
      for i in 0..<range.count {
        let low = raw.loadUnaligned(fromByteOffset: 2 * i, as: Int16.self)
        let high = weights[range.lowerBound + i] &- (low < 0 ? 1 : 0)
        values[i] = Float(
          bitPattern: UInt32(high) << 16 | UInt32(UInt16(bitPattern: low)))
      }
    }
  }

  private func fetch(_ box: Box, into raw: UnsafeMutableRawBufferPointer) throws(Fault) {
    let leading = place.leading.map { $0.index..<$0.index + 1 }
    let ranges = zip(box.offsets, box.sizes).map { $0..<$0 + $1 }
    try states.read(part, of: place.key, ranges: leading + ranges, into: raw)
  }
}

/// Names the run of a parameter that a scale belongs to; equal only in equal layouts.
struct ScaleName {
  let text: String

  init(_ kind: StateKind, _ parameter: Parameter, _ run: Range<Int>) {
    let runs = parameter.slices.runs.map { "\($0.global)+\($0.count)" }.joined(separator: ",")
    text =
      "\(kind.rawValue) \(parameter.name) \(parameter.slices.dim):\(runs) "
      + "\(run.lowerBound)..\(run.upperBound)"
  }
}

/// How many updates the optimizer of a checkpoint has made.
private struct StoredStep {
  let value: Int

  /// - Throws: `CKPT-151` when no group tells it.
  init(_ loaded: LoadedCheckpoint) throws(Fault) {
    var candidates: [PickleValue?] = [loaded.common.optimizer, loaded.common.optimizer?[0]]
    for key in loaded.reader.index.objects.keys.sorted()
    where key.hasPrefix("optimizer.distributed.") && key.contains(".optimizer/shard_") {
      let object = try loaded.reader.object(key).value
      candidates += (object.items ?? [object]).map { .dictionary([("optimizer", $0)]) }
    }
    for case let record? in candidates {
      let group = record["optimizer"]?["param_groups"]?.items?.first
      let step = group?["step"]?.double ?? record["param_state"]?[0]?["step"]?.double
      if let step, step >= 0, step < 1e15 {
        value = Int(step)
        return
      }
    }
    throw Fault(
      .badOptimizerState, "no parameter group tells the number of updates",
      at: .file(loaded.folder), expected: "step in param_groups of the optimizer")
  }
}
