import Parallel
import Support
import Tensor

/// The text model: embedding, layers, final norm, output layer with its loss.
///
///     x = embed(id);  x = layer_i(x);  loss = cross-entropy(norm(x) · wᵀ)
///
/// Forward only: derivatives belong to the operations. A rank holds the parts of every weight that
/// its `ModelLayout` names.
/// - Source: model.md (Qwen3 and Qwen3-MoE as published).
public struct QwenText: Sendable {
  public let config: QwenConfig
  public let layout: ModelLayout
  public let embedding: Adapter<VocabParallelEmbedding>
  public let layers: [DecoderLayer]
  public let finalNorm: Parameter  // [h]
  public let head: VocabParallelCrossEntropy
  /// Every weight once, in the order of the forward pass, adapters after the weight they are for.
  public let parameters: [Parameter]
  public let adapters: AdapterPlan?
}

/// How much of the forward pass is done again in the backward pass.
public struct RecomputePlan: Sendable, Equatable {
  public enum Method: Sendable, Equatable {
    case none
    /// Units of `layers` layers; only the input of each unit is kept.
    case uniform(layers: Int)
    /// The first `layers` layers, each by itself.
    case block(layers: Int)
  }
  public var method = Method.none
  public var modules: RecomputeModules = []
  public init(method: Method = .none, modules: RecomputeModules = []) {
    self.method = method
    self.modules = modules
  }

  /// Runs of layers that are recomputed as one unit, and runs that are kept.
  func units(_ count: Int) -> [(layers: Range<Int>, recomputed: Bool)] {
    switch method {
    case .none: return count == 0 ? [] : [(0..<count, false)]
    case .uniform(let size):
      return stride(from: 0, to: count, by: max(1, size)).map {
        ($0..<min($0 + max(1, size), count), true)
      }
    case .block(let size):
      let recomputed = (0..<min(size, count)).map { ($0..<$0 + 1, true) }
      return size < count ? recomputed + [(size..<count, false)] : recomputed
    }
  }
}

/// One micro-batch for the model: its tokens, and what the placeholders among them stand for.
public struct TextInput: Sendable {
  public let ids: Tensor  // [t] int32
  public let positions: [Int32]  // [t]
  public let labels: VocabParallelCrossEntropy.Labels
  /// Positions on three axes, for a row with pictures; nil where all axes are `positions`.
  public let axes: AxisPositions?
  /// Pictures and clips of the row; nil without any.
  public let vision: VisionInput?
  public init(
    ids: Tensor, positions: [Int32], labels: VocabParallelCrossEntropy.Labels,
    axes: AxisPositions? = nil, vision: VisionInput? = nil
  ) {
    self.ids = ids
    self.positions = positions
    self.labels = labels
    self.axes = axes
    self.vision = vision
  }
}

extension QwenText {
  /// The residual stream after the last layer, before the final norm.
  /// - Parameter shown: what the placeholders of the row stand for, as this rank needs it.
  /// - Returns: `[t, h]` `same`, or `[t/tp, h]` `split(0)`.
  /// - Parameter alwaysBackward: walk back through the layers even when nothing in this row is trained:
  ///   a peer that holds other experts may have pictures for a trained tower, and waits for our part.
  /// - Throws: `SHAPE-101`, `PLACE-201`, `COMM-001`, `MEM-001`.
  public func stream(
    _ input: TextInput, showing shown: PlacedTokens? = nil, alwaysBackward: Bool = false,
    plan: RecomputePlan, in context: Context
  ) throws(Fault) -> Value {
    let probe = context.setting.probe
    let angles = try rotaryAngles(input, on: context.setting.engine)
    var x = try embedding(input.ids, in: context)
    if let shown { x = try context.tape.place(.replace, shown.merged, at: shown.rows, of: x) }
    if alwaysBackward, !x.wantsGradient { x = context.tape.leaf(x.tensor, x.placement) }
    let setting = context.setting
    for unit in plan.units(layers.count) {
      let run = layers[unit.layers]
      let features = shown?.deepstack(in: unit.layers) ?? []
      if unit.recomputed {
        let trains = run.contains(where: \.trains)
        x = try context.tape.recompute([x] + features, trains: trains) { (x, tape) throws(Fault) in
          try pass(
            x[0], run, Array(x.dropFirst()), shown?.rows ?? [], angles,
            in: Context(tape: tape, setting: setting))
        }
        continue
      }
      for (place, layer) in zip(unit.layers, run) {
        probe?.keep("hidden.\(layer.index)", x, on: context.tape)
        let feature = shown?.deepstack(in: place..<place + 1) ?? []
        x = try pass(x, [layer], feature, shown?.rows ?? [], angles, in: context)
      }
    }
    probe?.keep("hidden.\(layers.count)", x, on: context.tape)
    return context.tape.boundary(x, of: ForwardPart.head(config), setting.backward)
  }

  /// Layers one after another; the first of them are followed by what the tower adds.
  private func pass(
    _ x: Value, _ run: ArraySlice<DecoderLayer>, _ features: [Value], _ rows: [Int32],
    _ angles: RotaryAngles, in context: Context
  ) throws(Fault) -> Value {
    var x = x
    for (i, layer) in run.enumerated() {
      x = context.tape.boundary(x, of: ForwardPart.layer(layer.index), context.setting.backward)
      x = try layer(x, angles, in: context)
      guard i < features.count else { continue }
      context.setting.probe?.keep("layer.\(layer.index).out", x, on: context.tape)
      x = try context.tape.place(.add, features[i], at: rows, of: x)
    }
    return x
  }

  /// The loss of a micro-batch; seed `loss` with 1 and walk the tape for its gradients.
  /// - Throws: as `stream`.
  public func loss(
    _ input: TextInput, showing shown: PlacedTokens? = nil, alwaysBackward: Bool = false,
    plan: RecomputePlan, in context: Context
  ) throws(Fault) -> VocabParallelCrossEntropy.Result {
    let x = try stream(
      input, showing: shown, alwaysBackward: alwaysBackward, plan: plan, in: context)
    let normed = try context.norm(x, finalNorm, epsilon: config.normEpsilon)
    context.setting.probe?.keep("final_norm", normed, on: context.tape)
    return try head(
      try context.enter(normed), beside: normed, input.labels, in: context)
  }

  /// All logits of a row, for comparison with stored ones: `[t, v]` fp32 on every rank.
  public func logits(
    _ input: TextInput, showing shown: PlacedTokens? = nil, in context: Context
  ) throws(Fault) -> Tensor {
    let x = try stream(input, showing: shown, plan: RecomputePlan(), in: context)
    let normed = try context.norm(x, finalNorm, epsilon: config.normEpsilon)
    let whole = context.setting.sequenceParallel ? try context.gatherRows(normed) : normed
    return try context.groups.tp.gatherColumns(try head.logits(whole.tensor))
  }

  /// `cos` and `sin` of position · θ^(−2j/d), fp32 angles, stretched by `ropeScaling`; frequency j turns
  /// with the axis that `ropeSections` gives it.
  public func rotaryAngles(_ input: TextInput, on engine: Engine) throws(Fault) -> RotaryAngles {
    let half = config.headSize / 2
    let cos = try Tensor([input.positions.count, half], .float32, on: engine)
    let sin = try Tensor([input.positions.count, half], .float32, on: engine)
    if !engine.isPlanning {
      var table = RotaryTable(theta: config.ropeTheta, half: half, scaling: config.ropeScaling)
      if let axes = input.axes, let sections = config.ropeSections {
        table.fill(axes, sections: sections, cos: cos.floats, sin: sin.floats)
      } else {
        table.fill(input.positions, cos: cos.floats, sin: sin.floats)
      }
    }
    return RotaryAngles(cos: cos, sin: sin)
  }
}
