import Parallel
import Support
import Tensor

/// New tokens of several sequences, for one forward pass of generation.
public struct GenerationInput: Sendable {
  /// `[t]`, the sequences one after another.
  public let ids: [Int32]
  /// Rotary positions, `[t]`.
  public let positions: [Int32]
  /// Those on three axes, where a sequence has pictures.
  public let axes: AxisPositions?
  /// Pictures and clips that the placeholders among the rows stand for, in their order.
  public let vision: VisionInput?
  /// Whose tokens they are; the caches grow by them.
  public let sequences: CachedRows
  /// Rows whose logits are wanted, ascending.
  public let wanted: [Int32]
  public init(
    ids: [Int32], positions: [Int32], axes: AxisPositions? = nil, vision: VisionInput? = nil,
    sequences: CachedRows, wanted: [Int32]
  ) {
    self.ids = ids
    self.positions = positions
    self.axes = axes
    self.vision = vision
    self.sequences = sequences
    self.wanted = wanted
  }
}

/// What generation runs on: the groups of this rank and how rows lie over them.
public struct GenerationSetting: Sendable {
  public let engine: Engine
  public let groups: ModelGroups
  /// Ranks of one expert-parallel group that hold the same rows: each routes a share of them.
  public let rowSharers: (any Communicator)?
  public init(engine: Engine, groups: ModelGroups, rowSharers: (any Communicator)? = nil) {
    self.engine = engine
    self.groups = groups
    self.rowSharers = rowSharers
  }
}

extension QwenText {
  /// Puts the weights of large products into panels: from now on the model generates and nothing else.
  /// - Throws: `MEM-001`.
  public func prepareForGeneration() throws(Fault) {
    for layer in layers {
      try layer.attention.qkv.weight.putInPanels(chunks: 1)
      try layer.attention.projection.weight.putInPanels(
        chunks: layer.attention.projection.inputChunks)
      switch layer.feedForward {
      case .dense(let mlp):
        try mlp.input.weight.putInPanels(chunks: 1)
        try mlp.output.weight.putInPanels(chunks: mlp.output.inputChunks)
      case .sparse(let experts):
        for weight in experts.experts.input { try weight.putInPanels(chunks: 1) }
        for weight in experts.experts.output {
          try weight.putInPanels(chunks: experts.experts.parts)
        }
      }
    }
    try head.weight.putInPanels(chunks: 1)
    head.weight.tensor.engine.arena.trim()
  }

  /// An empty cache for one sequence, keeping values in the type of the weights.
  public func newCache() -> KeyValueCache {
    KeyValueCache(
      KeyValueShape(
        layers: config.layerCount, groups: config.groupCount / layout.tp.size, d: config.headSize,
        dtype: embedding.weight.dtype), on: embedding.weight.tensor.engine)
  }

  /// Logits after the wanted rows, and the rows kept in the caches.
  ///
  /// A sequence's logits have the same bits whatever runs beside it and however its prompt was cut.
  /// - Parameter input: ids inside the vocabulary.
  /// - Returns: `[wanted, v]` fp32, equal on all ranks.
  /// - Throws: `MEM-001`, `COMM-001`.
  /// - Communication: that of the layers; (tp) all-gather of the logits.
  public func nextLogits(_ input: GenerationInput, _ generation: GenerationSetting) throws(Fault)
    -> Tensor
  {
    try nextLogits(input, generation) { _, _ in nil }
  }

  /// - Parameter shown: what the placeholders of the row stand for.
  func nextLogits(
    _ input: GenerationInput, _ generation: GenerationSetting,
    showing shown: (TextInput, Context) throws(Fault) -> PlacedTokens?
  ) throws(Fault) -> Tensor {
    let engine = generation.engine
    let setting = try self.setting(input, generation)
    let context = Context(tape: Tape(recording: false), setting: setting)
    try input.sequences.reserve()
    let padding = setting.layout.tokens - input.ids.count
    let text = TextInput(
      ids: try Tensor(input.ids + [Int32](repeating: 0, count: padding), on: engine),
      positions: input.positions + [Int32](repeating: 0, count: padding),
      labels: VocabParallelCrossEntropy.Labels(shifted: [], weights: nil),
      axes: input.axes?.padded(by: padding), vision: input.vision)
    let x = try stream(
      text, showing: try shown(text, context), plan: RecomputePlan(), in: context)
    input.sequences.advance()
    let whole = setting.sequenceParallel ? try context.gatherRows(x) : x
    let rows = try Tensor([input.wanted.count, config.hiddenSize], x.dtype, on: engine)
    input.wanted.withUnsafeBufferPointer {
      if let wanted = $0.baseAddress { engine.gatherRows(whole.tensor, wanted, into: rows) }
    }
    let normed = try context.norm(Value(rows), finalNorm, epsilon: config.normEpsilon)
    return try context.groups.tp.gatherColumns(try head.logits(normed.tensor))
  }

  /// Rows are padded to what the ranks share; padding is never routed.
  private func setting(_ input: GenerationInput, _ generation: GenerationSetting) throws(Fault)
    -> Setting
  {
    let tp = generation.groups.tp.size
    let splitsRows = config.experts != nil && tp > 1
    let multiple = (splitsRows ? tp : 1) * (generation.rowSharers?.size ?? 1)
    let count = (input.ids.count + multiple - 1) / multiple * multiple
    var setting = Setting(
      engine: generation.engine, groups: generation.groups, sequenceParallel: splitsRows,
      layout: try SequenceLayout(
        starts: [0, Int32(count)], realTokens: input.ids.count, on: generation.engine),
      isTraining: false)
    setting.cached = input.sequences
    setting.rowSharers = generation.rowSharers
    return setting
  }
}

extension QwenModel {
  /// As that of the text model; the tower runs over the pictures of the rows.
  public func nextLogits(_ input: GenerationInput, _ generation: GenerationSetting) throws(Fault)
    -> Tensor
  {
    try text.nextLogits(input, generation) { (row, context) throws(Fault) in
      try shown(row, in: context)
    }
  }
}

extension AxisPositions {
  fileprivate func padded(by count: Int) -> AxisPositions {
    var all = self
    let zeros = [Int32](repeating: 0, count: count)
    all.time += zeros
    all.height += zeros
    all.width += zeros
    return all
  }
}

extension Parameter {
  fileprivate func putInPanels(chunks: Int) throws(Fault) {
    tensor = try tensor.inPanels(chunks: chunks)
  }
}

extension Context {
  /// Attention inside the documents of the row, or over kept keys and values.
  func attention(_ rotated: Value, _ heads: FusedHeads, layer: Int) throws(Fault) -> Value {
    if let cached = setting.cached {
      return try tape.cachedAttention(rotated, heads, cached, layer: layer)
    }
    return try tape.attention(rotated, heads, setting.layout)
  }
}
