import Parallel
import Support
import Tensor

/// A model of the family: the text model, and the vision tower where it has one.
///
///     tokens, deepstack = vision(pixels)
///     x = embed(id), visual tokens in place of their placeholders;   x = layer_i(x) + deepstack_i
///
/// - Source: model.md 9 (Qwen3-VL as published).
public struct QwenModel: Sendable {
  public let text: QwenText
  public let vision: QwenVision?
  /// Every weight once: those of the text model, then those of the tower.
  public let parameters: [Parameter]

  public var config: QwenConfig { text.config }
  public var layout: ModelLayout { text.layout }

  /// A model with uninitialised weights.
  /// - Parameters:
  ///   - router: choices of the flags; experts and top-k come from `config`.
  ///   - adapters: adapters to build beside the weights; all weights are then
  ///     frozen, but for those that the plan trains whole.
  /// - Throws: `MEM-001`.
  public init(
    _ config: QwenConfig, layout: ModelLayout, dtype: DType, router: RouterOptions?,
    adapters: AdapterPlan? = nil, on engine: Engine
  ) throws(Fault) {
    text = try QwenText(
      config, layout: layout, dtype: dtype, router: router, adapters: adapters, on: engine)
    vision = try config.vision.map { (config) throws(Fault) in
      try QwenVision(config, dtype: dtype, adapters: adapters, on: engine)
    }
    parameters = text.parameters + (vision?.parameters ?? [])
    if let adapters { adapters.freeze(vision?.parameters ?? []) }
  }

  /// Random weights as the published models were begun.
  public func initialize(seed: Int) throws(Fault) {
    try text.initialize(seed: seed)
    try vision?.initialize(seed: seed)
    parameters.first?.tensor.engine.arena.trim()
  }

  /// Fills every weight of this rank.
  /// - Throws: `MODEL-103` for a missing tensor or a wrong shape; what the source throws.
  public func load(from source: some WeightSource) throws(Fault) {
    for parameter in parameters where !parameter.role.isAdapter {
      try parameter.load(from: source)
    }
    // Buffers of whole fp32 weights fit nothing that a training step asks for.
    parameters.first?.tensor.engine.arena.trim()
  }
}

extension QwenModel {
  /// The loss of a micro-batch; seed `loss` with 1 and walk the tape for its gradients.
  /// - Throws: `MODEL-104` when pictures and placeholders do not fit; `SHAPE-101`, `PLACE-201`,
  ///   `COMM-001`, `MEM-001`.
  public func loss(_ input: TextInput, plan: RecomputePlan, in context: Context) throws(Fault)
    -> VocabParallelCrossEntropy.Result
  {
    try text.loss(
      input, showing: try shown(input, in: context),
      alwaysBackward: vision?.parameters.contains(where: \.isTrainable) ?? false, plan: plan,
      in: context)
  }

  /// All logits of a row, for comparison with stored ones: `[t, v]` fp32 on every rank.
  public func logits(_ input: TextInput, in context: Context) throws(Fault) -> Tensor {
    try text.logits(input, showing: try shown(input, in: context), in: context)
  }

  /// The tower runs where the row has pictures; a row without any asks for nothing from its peers,
  /// which have the same row.
  func shown(_ input: TextInput, in context: Context) throws(Fault) -> PlacedTokens? {
    guard let vision, !input.ids.engine.isPlanning else { return nil }
    let ids = UnsafeBufferPointer(start: input.ids.pointer(as: Int32.self), count: input.ids.count)
    guard let pictures = input.vision else {
      if let id = ids.first(where: vision.config.isPlaceholder) {
        throw Fault(
          .visionMismatch, "the row has a placeholder (token \(id)) and no picture",
          fix: "give the picture it stands for, or leave the token out of the text")
      }
      return nil
    }
    return try PlacedTokens(
      try vision(pictures, in: context), ids: ids, vision.config, in: context)
  }
}
