import Support
import Tensor

// R rows of this rank's experts   h hidden   f/etp feed-forward size

/// The experts of this rank, all products of one kind as one list of tiles.
///
///     y = w₂ · (gate · silu(a) · b),   [a; b] = w₁ · x
///
/// - Parameters of the call:
///   - x: `[buffer rows, h]` as dispatched; `gates` `[R]` fp32 in the order of the experts.
/// - Returns: `[buffer rows, h]`, fp32 summands when experts are split over etp, else rounded.
/// - Throws: `SHAPE-101`.
/// - Communication: none.
/// - Source: Shazeer 2020; Gale et al. 2022 (no padding between experts).
public struct GroupedExperts: Sendable {
  public let input: [Parameter]  // e/ep of [2·f/etp, h], gate and up in `parts` runs
  public let output: [Parameter]  // e/ep of [h, f/etp]
  public let parts: Int
  /// The activation is made again in the backward pass (`moe_act`).
  public var recomputesActivation = false
  /// Adapters of `input`, one per expert; none without adapters.
  public var inputAdapters: [LowRankPair] = []
  /// Adapters of `output`.
  public var outputAdapters: [LowRankPair] = []

  public init(input: [Parameter], output: [Parameter], parts: Int) {
    self.input = input
    self.output = output
    self.parts = parts
  }

  var trainsInput: Bool { input.contains(where: \.isTrainable) }
  var trainsOutput: Bool { output.contains(where: \.isTrainable) }
  var trains: Bool {
    trainsInput || trainsOutput || inputAdapters.contains(where: \.isTrainable)
      || outputAdapters.contains(where: \.isTrainable)
  }

  public func callAsFunction(
    _ x: Value, gates: Value, routing: Routing, context: Context
  ) throws(Fault) -> Value {
    let low = AdaptedExperts(
      input: ExpertAdapters(inputAdapters), output: ExpertAdapters(outputAdapters),
      etp: context.groups.etp, keys: try context.expertRowKeys(self, routing))
    let isSplit = context.groups.etp.size > 1
    let fused = try products(x.tensor, routing)
    let narrowInput = try low.addInput(x.tensor, to: fused, routing)
    let activation = try swiGLUForward(fused, scale: gates.tensor, parts: parts)
    let isWide = isSplit || low.output != nil
    let ordered = try Tensor(
      [routing.computedRows, x.tensor.rowSize], isWide ? .float32 : x.dtype, on: fused.engine)
    let chunks = parts
    fused.engine.multiply(
      each(routing) { e, rows in
        Product(
          .forward, activation.rowRange(rows), output[e].tensor, into: ordered.rowRange(rows),
          chunks: chunks)
      })
    let narrowOutput = try low.addOutput(activation, to: ordered, routing, chunks: chunks)
    let y = try unordered(ordered, routing, rows: x.tensor.rows)
    let keepsActivation = trainsOutput || low.output?.trains ?? false
    let saved: SavedTensor? =
      recomputesActivation
      ? .rebuilt(SwiGLURecipe(x: fused, scale: gates.tensor, parts: parts))
      : keepsActivation ? .kept(activation) : nil
    return context.tape.record(
      y, x.placement, from: [x, gates], trains: trains,
      ExpertProducts(
        experts: self, x: trainsInput || low.input?.trains ?? false ? x.tensor : nil,
        shape: x.shape, dtype: x.dtype, gates: gates.tensor, fused: fused, activation: saved,
        routing: routing, isSplit: isSplit, adapters: low, narrowInput: narrowInput,
        narrowOutput: narrowOutput))
  }

  /// `[R, 2·f/etp]`, rows gathered while they are packed.
  private func products(_ x: Tensor, _ routing: Routing) throws(Fault) -> Tensor {
    let fused = try Tensor([routing.computedRows, input[0].shape[0]], x.dtype, on: x.engine)
    routing.expertRows.withUnsafeBufferPointer { index in
      x.engine.multiply(
        each(routing) { e, rows in
          var product = Product(.forward, x, input[e].tensor, into: fused.rowRange(rows))
          product.rows = index.baseAddress! + rows.lowerBound
          product.rowCount = rows.count
          return product
        })
    }
    return fused
  }

  /// One product per expert that has rows.
  func each(_ routing: Routing, _ product: (Int, Range<Int>) -> Product) -> [Product] {
    input.indices.compactMap { e in
      let rows = routing.expertOffsets[e]..<routing.expertOffsets[e + 1]
      return rows.isEmpty ? nil : product(e, rows)
    }
  }

  /// From the order of the experts back to the order of the buffer; places without a row are zero.
  func unordered(_ ordered: Tensor, _ routing: Routing, rows: Int) throws(Fault) -> Tensor {
    var inverse = [Int32](repeating: -1, count: rows)
    for (i, row) in routing.expertRows.enumerated() { inverse[Int(row)] = Int32(i) }
    let out = try Tensor([rows, ordered.rowSize], ordered.dtype, on: ordered.engine)
    inverse.withUnsafeBufferPointer {
      if let p = $0.baseAddress { ordered.engine.gatherRows(ordered, p, into: out) }
    }
    return out
  }
}

struct ExpertProducts: Operation {
  static let name: StaticString = "experts"
  let experts: GroupedExperts
  /// `[buffer rows, h]`; nil when nothing that reads it is trained.
  let x: Tensor?
  let shape: [Int]
  let dtype: DType
  let gates: Tensor  // [R]
  let fused: Tensor  // [R, 2·f/etp]
  /// `[R, f/etp]`; nil when nothing that reads it is trained.
  let activation: SavedTensor?
  let routing: Routing
  let isSplit: Bool
  let adapters: AdaptedExperts
  /// What the As of the adapters gave: `[R, r]`.
  let narrowInput: Tensor?
  let narrowOutput: Tensor?

  var savedBytes: Int {
    (x?.byteCount ?? 0) + fused.byteCount + (activation?.savedBytes ?? 0)
      + (narrowInput?.byteCount ?? 0) + (narrowOutput?.byteCount ?? 0)
  }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let engine = fused.engine
    let dy = try ordered(try dy.converted(to: dtype))
    let dActivation = try Tensor([dy.rows, fused.rowSize / 2], dtype, on: engine)
    engine.multiply(
      experts.each(routing) { e, rows in
        Product(
          .inputGradient, dy.rowRange(rows), experts.output[e].tensor,
          into: dActivation.rowRange(rows))
      })
    let activation = try activation?.tensor()
    if let activation { try addWeightGradients(experts.output, dy, activation, rows: nil) }
    try adapters.outputGradients(
      dy, activation, narrowOutput, into: dActivation, routing)
    let swiglu = SwiGLU(x: fused, scale: gates, parts: experts.parts)
    let gradients = try swiglu.backward(dActivation, wanting: [0, 1])
    guard let dFused = gradients[0], let dGates = gradients[1] else { return [nil, nil] }
    if let x { try addWeightGradients(experts.input, dFused, x, rows: routing.expertRows) }
    let du = try adapters.inputGradients(
      dFused, x, narrowInput, routing, chunks: experts.parts)
    guard wanting.contains(0) else { return [nil, dGates] }
    let isWide = isSplit || adapters.input != nil
    let dx = try Tensor([dy.rows, shape[1]], isWide ? .float32 : dtype, on: engine)
    engine.multiply(
      experts.each(routing) { e, rows in
        Product(
          .inputGradient, dFused.rowRange(rows), experts.input[e].tensor,
          into: dx.rowRange(rows), chunks: experts.parts)
      })
    if let du { try adapters.addInputGradient(du, to: dx, routing) }
    return [try experts.unordered(dx, routing, rows: shape[0]), dGates]
  }

  private func ordered(_ buffer: Tensor) throws(Fault) -> Tensor {
    let out = try Tensor([routing.computedRows, buffer.rowSize], buffer.dtype, on: buffer.engine)
    routing.expertRows.withUnsafeBufferPointer {
      if let p = $0.baseAddress { buffer.engine.gatherRows(buffer, p, into: out) }
    }
    return out
  }

  /// Experts without rows get a zero gradient: they take part in the step like the others.
  private func addWeightGradients(
    _ weights: [Parameter], _ dy: Tensor, _ x: Tensor, rows index: [Int32]?
  ) throws(Fault) {
    if !routing.laneOffsets.isEmpty, weights.contains(where: { !$0.lanes.isEmpty }) {
      return try addLaneGradients(weights, dy, x, rows: index)
    }
    var slots: [Int: (tensor: Tensor, adds: Bool)] = [:]
    for e in weights.indices {
      slots[e] = try weights[e].gradientSlot()
      let isEmpty = routing.expertOffsets[e] == routing.expertOffsets[e + 1]
      if let slot = slots[e], isEmpty, !slot.adds { dy.engine.clear(slot.tensor) }
    }
    guard !slots.isEmpty else { return }
    func list(_ base: UnsafePointer<Int32>?) -> [Product] {
      experts.each(routing) { e, rows in
        let own = base == nil ? x.rowRange(rows) : x
        var product = Product(
          .weightGradient, dy.rowRange(rows), own, into: slots[e]!.tensor, adds: slots[e]!.adds)
        product.rows = base.map { $0 + rows.lowerBound }
        return product
      }
    }
    if let index {
      index.withUnsafeBufferPointer { dy.engine.multiply(list($0.baseAddress)) }
    } else {
      dy.engine.multiply(list(nil))
    }
  }
}

extension ExpertProducts {
  /// Each source's rows into its own sum.
  private func addLaneGradients(
    _ weights: [Parameter], _ dy: Tensor, _ x: Tensor, rows index: [Int32]?
  ) throws(Fault) {
    func list(_ base: UnsafePointer<Int32>?) -> [Product] {
      var products: [Product] = []
      for e in weights.indices {
        for lane in weights[e].lanes.indices {
          let rows = routing.laneOffsets[e][lane]..<routing.laneOffsets[e][lane + 1]
          guard let slot = weights[e].gradientSlot(lane: lane) else { continue }
          if rows.isEmpty {
            if !slot.adds { dy.engine.clear(slot.tensor) }
            continue
          }
          var product = Product(
            .weightGradient, dy.rowRange(rows), base == nil ? x.rowRange(rows) : x,
            into: slot.tensor, adds: slot.adds)
          product.rows = base.map { $0 + rows.lowerBound }
          products.append(product)
        }
      }
      return products
    }
    guard let index else { return dy.engine.multiply(list(nil)) }
    index.withUnsafeBufferPointer { dy.engine.multiply(list($0.baseAddress)) }
  }
}
