import Support
import Tensor

// t/tp rows of this rank   h hidden   e experts   k experts per token

/// Chooses experts for each row, or takes the choices of `Setting.replay`, and keeps them for the
/// dispatcher.
///
///     z[t, e] = x · wᵀ (in fp32);   gates = softmax of the k largest
///
/// Auxiliary losses are seeded in the backward pass and change nothing in the forward pass:
///
///     aux = c·E/(k·T²) · Σ_e f_e · Σ_t P[t,e],   z-loss = c/T · Σ_t logsumexp(z)²
///
/// with T and the counts f taken over the tensor-parallel group, so that they are those of the
/// micro-batch of a data-parallel rank in every layout.
/// - Parameter x: `[t, h]` `same`, or `[t/tp, h]` `split(0)` over tp.
/// - Returns: gates `[t, k]` fp32, placed as `x`, and the routing.
/// - Communication (tp): forward sum of `e` counts; with a capacity, all-gather of `2·t·k`; backward
///   sum of `e·h` fp32 for the weight.
/// - Source: Shazeer et al. 2017; Fedus et al. 2021 (auxiliary loss); Zoph et al. 2022 (z-loss).
public struct Router: Sendable {
  public let weight: Parameter  // [e, h]
  public let options: RouterOptions
  /// For probes: `router.3` of layer 3.
  public let label: String
  public let adapter: LowRankPair?

  public init(
    weight: Parameter, options: RouterOptions, label: String = "router",
    adapter: LowRankPair? = nil
  ) {
    self.weight = weight
    self.options = options
    self.label = label
    self.adapter = adapter
  }

  public func callAsFunction(
    _ x: Value, recipe: (any Recipe)? = nil, in context: Context
  ) throws(Fault) -> (gates: Value, routing: Routing) {
    let setting = context.setting
    try x.require(.tp, [.same, .split(0)], in: "Router")
    let logits = try logits(of: x.tensor)
    let own = setting.routedRows
    let low = try adapter.map { (pair) throws(Fault) in
      try RouterAdapter(pair, x.tensor, keys: context.rowKeys(pair, own), addingTo: logits)
    }
    // Rows added for the layout have no say: they are not routed and not counted.
    let real = max(0, min(own.upperBound, setting.layout.realTokens) - own.lowerBound)
    let replayed = setting.replay?.slots[label]?
      .rows(own.lowerBound..<own.lowerBound + real, topK: options.topK)
    let choice: ExpertChoice
    if setting.engine.isPlanning {
      choice = ExpertChoice(planning: real, options: options)
    } else {
      choice = ExpertChoice(
        logits: UnsafeBufferPointer(rebasing: logits.floats[..<(real * options.experts)]),
        options: options, replayed: replayed?.experts, engine: setting.engine)
    }
    let balance = try RouterBalance(
      choice: choice, logits: logits, realRows: real, options: options, setting: setting)
    if let statistics = setting.statistics, setting.isTraining, context.tape.isRecording {
      try balance.report(logits, to: statistics)
    }
    let routing: Routing
    if let kept = replayed?.kept {
      let nothing = [[Int]](repeating: [], count: options.experts)
      routing = try Routing(choice: choice, kept: kept, fill: nothing, setting: setting)
    } else {
      routing = try Routing(choice: choice, options: options, setting: setting)
    }
    setting.probe?.keep(
      label, Probe.RoutingRecord(logits: logits, choice: choice, kept: routing.kept))
    let gates = try Tensor([x.tensor.rows, options.topK], .float32, on: setting.engine)
    gates.clear()
    if !setting.engine.isPlanning {
      for (i, gate) in choice.gates.enumerated() where routing.kept[i] { gates.floats[i] = gate }
    }
    let trains = weight.isTrainable || adapter?.isTrainable ?? false
    let value = context.tape.record(
      gates, x.placement, from: [x], trains: trains,
      RouterGates(
        x: trains ? SavedTensor(x.tensor, recipe: recipe) : nil, dtype: x.dtype, weight: weight,
        adapter: low, logits: logits, choice: choice, kept: routing.kept, options: options,
        balance: balance, tree: RowTree(setting)))
    return (value, routing)
  }

  /// `[t, e]` fp32 logits in the precision asked for.
  func logits(of x: Tensor) throws(Fault) -> Tensor {
    let engine = x.engine
    let z = try Tensor([x.rows, options.experts], .float32, on: engine)
    switch options.precision {
    case .fp32:
      let wide = try x.converted(to: .float32)
      engine.multiply(Product(.forward, wide, try weight.tensor.converted(to: .float32), into: z))
    case .none:
      let rounded = try Tensor(z.shape, x.dtype, on: engine)
      engine.multiply(Product(.forward, x, weight.tensor, into: rounded))
      return try rounded.converted(to: .float32)
    case .fp64:
      guard !engine.isPlanning else { return z }
      let a = x.values.map(Double.init)
      let w = weight.tensor.values.map(Double.init)
      let h = x.rowSize
      for t in 0..<x.rows {
        for e in 0..<options.experts {
          var sum = 0.0
          for i in 0..<h { sum += a[t * h + i] * w[e * h + i] }
          z.floats[t * options.experts + e] = Float(sum)
        }
      }
    }
    return z
  }
}

struct RouterGates: Operation {
  static let name: StaticString = "router"
  let x: SavedTensor?  // [t/tp, h]; nil when nothing is trained
  let dtype: DType
  let weight: Parameter  // [e, h]
  let adapter: RouterAdapter?
  let logits: Tensor  // [t/tp, e] fp32
  let choice: ExpertChoice
  let kept: [Bool]
  let options: RouterOptions
  let balance: RouterBalance
  let tree: RowTree

  var savedBytes: Int {
    (x?.savedBytes ?? 0) + logits.byteCount + choice.gates.count * 8
      + (adapter?.u.byteCount ?? 0)
  }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let engine = logits.engine
    let dz = try Tensor.zeros(logits.shape, .float32, on: engine)
    if !engine.isPlanning {
      let dgates = dy.floats
      for i in kept.indices where !kept[i] { dgates[i] = 0 }
      choice.addLogitGradient(
        of: UnsafeBufferPointer(dgates), logits: UnsafeBufferPointer(logits.floats),
        options: options, engine: engine, into: dz.floats)
      try balance.addLogitGradient(logits: logits, into: dz)
    }
    let x = try x?.tensor()
    if weight.isTrainable, let x {
      try weight.addGradient(try tree.product(dz, try x.converted(to: .float32)))
    }
    let du = try adapter?.gradients(dz, x, tree)
    guard wanting.contains(0) else { return [nil] }
    let dx = try Tensor([logits.rows, weight.shape[1]], dtype, on: engine)
    if options.precision == .none, dtype != .float32 {
      let rounded = try dz.converted(to: dtype)
      engine.multiply(Product(.inputGradient, rounded, weight.tensor, into: dx))
    } else {
      let w = try weight.tensor.converted(to: .float32)
      engine.multiply(Product(.inputGradient, dz, w, into: dx))
    }
    if let du { try adapter?.addInputGradient(du, to: dx) }
    return [dx]
  }
}
