@testable import Model
import Parallel
import Support
import Tensor
import Testing

/// A tiny model run in process over some layout; gives whole losses and gradients.
struct LayoutRig: Sendable {
  var layers = 2
  var experts = 0
  var topK = 2
  var tied = false
  /// Lengths of the documents of the row.
  var tokens = [7, 9]
  /// Which text each document is; by default its place in the row.
  var texts: [Int]?
  var dtype = DType.float32
  var plan = RecomputePlan()
  var adjust: @Sendable (inout RouterOptions) -> Void = { _ in }
  var threads = 1
  var hidden = 32
  var feedForward = 48
  var heads = 8
  var groups = 4
  var headSize = 8
  var vocabulary = 64
  var expertWidth = 24
  var denseLayers = [1]
  /// The row is padded to a multiple, besides what sequence parallelism asks for.
  var multiple = 1
  /// Part of the tokens that is trained.
  var trained = 0.67
  var seeds = LossSeeds()
  /// Adapters on the frozen model, with random values in both halves.
  var adapters: AdapterPlan?
  /// B is zero, as training begins.
  var beginsAtZero = false
  /// Adds the product of these adapters to the weights, on one rank.
  var merges: (plan: AdapterPlan, values: @Sendable (String) -> [Float])?
  /// Pictures and clips of each document; nil for a model without a tower.
  var pictures: [[PatchGrid]]?
  /// Notes how the backward pass tells where it is.
  var watches = false
  /// Which weights are not trained.
  var frozen: @Sendable (String) -> Bool = { _ in false }

  func config() throws -> QwenConfig {
    if pictures != nil { return try VisionRig.config(experts: experts) }
    let moe =
      experts == 0
      ? ""
      : """
      ,"num_experts": \(experts), "num_experts_per_tok": \(topK),
      "moe_intermediate_size": \(expertWidth), "norm_topk_prob": true,
      "mlp_only_layers": \(denseLayers)
      """
    let text = """
      {"model_type": "\(experts == 0 ? "qwen3" : "qwen3_moe")", "vocab_size": \(vocabulary),
       "hidden_size": \(hidden), "intermediate_size": \(feedForward),
       "num_hidden_layers": \(layers), "num_attention_heads": \(heads),
       "num_key_value_heads": \(groups), "head_dim": \(headSize), "rms_norm_eps": 1e-6,
       "rope_theta": 10000.0, "tie_word_embeddings": \(tied), "initializer_range": 0.2\(moe)}
      """
    return try QwenConfig(json: try JSONValue.parse(text), path: "test")
  }

  struct Outcome: Equatable, Sendable {
    /// Of each token, padding left out.
    var loss: [Float] = []
    var gradients: [String: [Float]] = [:]
    /// What the tape of rank 0 keeps.
    var savedBytes = 0
    /// Σ of load-balancing losses and of z-losses, dropped slots, router calls of rank 0.
    var statistics: [Double] = []
    /// What the backward pass told rank 0, if it was watched.
    var told = Told()

    /// Σ of the token losses.
    var total: Double { loss.reduce(0) { $0 + Double($1) } }
  }

  /// Runs on `ranks` ranks that are all tensor-parallel; experts lie over `ep` times `etp` of them
  /// and are replicated on the others.
  func run(ranks: Int, sequenceParallel: Bool, ep: Int = 1, etp: Int = 1) throws -> Outcome {
    let shape = MeshShape(tp: ranks, ep: ep, etp: etp, sequenceParallel: sequenceParallel)
    return merge(
      try ThreadWorld.run(ranks: ranks) { (world) throws(Fault) in try self.rank(world, shape) })
  }

  /// Runs on one rank.
  func run() throws -> Outcome { try run(ranks: 1, sequenceParallel: false) }

  private struct Part: Sendable {
    var loss: [Float]
    var gradients: [(name: String, slices: ParameterSlices, values: [Float])]
    var statistics: [Double]
    var savedBytes: Int
    var told: Told
  }

  private func rank(_ world: any Communicator, _ shape: MeshShape) throws(Fault) -> Part {
    let mesh = try ProcessMesh(world: world, shape: shape)
    let engine = try Engine(threads: threads)
    var layout = ModelLayout()
    layout.tp = (mesh.tp.rank, mesh.tp.size)
    layout.ep = (mesh.ep.rank, mesh.ep.size)
    layout.etp = (mesh.etp.rank, mesh.etp.size)
    let config: QwenConfig
    do { config = try self.config() } catch { throw Fault(.internalError, "\(error)") }
    var router = config.experts.map { RouterOptions(experts: $0.count, topK: $0.topK) }
    if router != nil { adjust(&router!) }
    let model = try QwenModel(
      config, layout: layout, dtype: dtype, router: router, adapters: adapters, on: engine)
    try model.initialize(seed: 1)
    try model.initializeAdapters(seed: 2)
    for p in model.adapterParameters where Self.startsAtZero(p.name) && !beginsAtZero {
      try p.fill(seed: 3) { random, place in random.normal(place) * 0.1 }
    }
    merge(into: model)
    for p in model.parameters where frozen(p.name) { p.isTrainable = false }
    for p in model.parameters where p.isTrainable {
      p.gradient = try Tensor.zeros(p.shape, .float32, on: engine)
    }
    let (input, sequence) = try row(pad: shape.sequenceParallel, config.vision, engine)
    let statistics = RouterStatistics()
    var setting = Setting(
      engine: engine, groups: ModelGroups(tp: mesh.tp, ep: mesh.ep, etp: mesh.etp),
      sequenceParallel: shape.sequenceParallel, layout: sequence, seeds: seeds,
      recompute: plan.modules, statistics: statistics)
    if adapters.map({ $0.dropout > 0 }) ?? false { setting.dropoutKey = 17 }
    let watch = watches ? RecordingWatch(model) : nil
    setting.backward = watch
    let tape = Tape()
    let result = try model.loss(input, plan: plan, in: Context(tape: tape, setting: setting))
    let savedBytes = tape.savedBytes
    try tape.seed(result.loss, with: try Tensor([1], [1], on: engine))
    try tape.backward()
    let told = watch?.told() ?? Told()
    try sumReplicatedExperts(model, over: mesh.edp)
    return Part(
      loss: Array(result.perToken.prefix(tokens.reduce(0, +))),
      gradients: model.parameters.filter(\.isTrainable).map {
        ($0.name, $0.slices, $0.gradient?.values ?? [])
      },
      statistics: [
        statistics.auxiliaryLoss, statistics.zLoss, Double(statistics.dropped),
        Double(statistics.layers),
      ], savedBytes: savedBytes, told: told)
  }

  /// Values of a half of an adapter as every layout begins with them.
  @Sendable func values(of name: String) -> [Float] {
    guard let plan = adapters ?? merges?.plan,
      let weight = plan.sites.keys.first(where: {
        AdapterNames(weight: $0).a == name || AdapterNames(weight: $0).b == name
      }), let engine = try? Engine(), let config = try? config()
    else { return [] }
    var only = plan
    only.sites = only.sites.filter { $0.key == weight }
    let model = try? QwenModel(
      config, layout: ModelLayout(), dtype: dtype, router: nil, adapters: only, on: engine)
    try? model?.initializeAdapters(seed: 2)
    let half = model?.adapterParameters.first { $0.name == name }
    if Self.startsAtZero(name) {
      try? half?.fill(seed: 3) { random, place in random.normal(place) * 0.1 }
    }
    guard let half else { return [] }
    // Memory holds a gated pair in parts; what is wanted is the order of the whole matrix.
    var whole = [Float](repeating: .nan, count: half.count)
    put(half.tensor.values, half.slices, into: &whole, name)
    return whole
  }

  private static func startsAtZero(_ half: String) -> Bool {
    half.contains(".lora_B.") || half.contains(".lora_embedding_A.")
  }

  private func merge(into model: QwenModel) {
    guard let merges else { return }
    for p in model.parameters {
      guard let site = merges.plan.sites[p.name] else { continue }
      let names = AdapterNames(weight: p.name)
      let (a, b) = (merges.values(names.a), merges.values(names.b))
      let inputs = site.isTable ? p.tensor.rows : p.tensor.rowSize
      var first = 0
      for block in site.blocks {
        for row in block.rows.joined() {
          for i in 0..<inputs {
            let sum = (0..<block.rank).reduce(0.0) {
              $0 + Double(b[row * site.rank + $1]) * Double(a[(first + $1) * inputs + i])
            }
            let place =
              site.isTable ? i * p.tensor.rowSize + row : localRow(row, p) * inputs + i
            p.tensor.floats[place] += Float(block.scale * sum)
          }
        }
        first += block.rank
      }
    }
  }

  private func localRow(_ row: Int, _ p: Parameter) -> Int {
    guard p.slices.dim == 0 else { return row }
    let run = p.slices.runs.first { ($0.global..<$0.global + $0.count).contains(row) }
    return run.map { $0.local + row - $0.global } ?? row
  }

  /// Bytes the tape keeps of one forward pass on one rank.
  func savedBytes() throws -> Int {
    let engine = try Engine()
    let model = try QwenModel(
      try config(), layout: ModelLayout(), dtype: dtype, router: nil, adapters: adapters,
      on: engine)
    try model.initialize(seed: 1)
    try model.initializeAdapters(seed: 2)
    for p in model.parameters where p.isTrainable {
      p.gradient = try Tensor.zeros(p.shape, .float32, on: engine)
    }
    let (input, sequence) = try row(pad: false, nil, engine)
    let world = SelfWorld()
    let setting = Setting(
      engine: engine, groups: ModelGroups(tp: world, ep: world, etp: world),
      sequenceParallel: false, layout: sequence)
    let tape = Tape()
    _ = try model.loss(input, plan: RecomputePlan(), in: Context(tape: tape, setting: setting))
    return tape.savedBytes
  }

  /// What the optimizer does: replicas of experts have seen other rows.
  private func sumReplicatedExperts(_ model: QwenModel, over edp: any Communicator) throws(Fault) {
    guard edp.size > 1 else { return }
    for p in model.parameters where p.role.isExpert {
      if let gradient = p.gradient { try edp.allReduce(gradient.floats, order: .distantFirst) }
    }
  }

  /// A packed row of documents with random tokens, some of which are not trained.
  private func row(
    pad: Bool, _ vision: VisionConfig?, _ engine: Engine
  ) throws(Fault) -> (TextInput, SequenceLayout) {
    var ids: [Int32] = []
    var labels: [Int32] = []
    var starts: [Int32] = [0]
    var positions: [Int32] = []
    for (place, length) in tokens.enumerated() {
      let random = CounterRandom(seed: 4, purpose: "text \(texts?[place] ?? place)")
      var own = (0..<length).map { Int32(random.uniform($0) * Double(vocabulary)) }
      if let vision, let grids = pictures?[place] {
        VisionRig.putPlaceholders(for: grids, into: &own, vision)
      }
      ids += own
      labels += (0..<length).map {
        $0 + 1 < length && random.uniform(1000 + $0) < trained
          && vision?.isPlaceholder(own[$0 + 1]) != true ? own[$0 + 1] : -100
      }
      positions += (0..<Int32(length))
      starts.append(Int32(ids.count))
    }
    let real = ids.count
    let unit = pad ? multiple * 8 / (multiple % 8 == 0 ? 8 : 1) : multiple
    for i in 0..<(unit - real % unit) % unit {
      ids.append(0)
      labels.append(-100)
      positions.append(0)
      starts.append(Int32(real + i + 1))
    }
    let layout = try SequenceLayout(starts: starts, realTokens: real, on: engine)
    let grids = pictures?.flatMap { $0 } ?? []
    var axes: AxisPositions?
    var shown: VisionInput?
    if let vision {
      axes = try AxisPositions(ids: ids, grids: grids, documentStarts: starts, config: vision)
      shown = try VisionRig.input(grids, vision, on: engine)
    }
    return (
      TextInput(
        ids: try Tensor(ids, on: engine), positions: positions,
        labels: .init(shifted: labels, weights: nil),
        axes: axes, vision: shown), layout
    )
  }

  /// Whole gradients: slices put in place; equal copies must be equal.
  private func merge(_ parts: [Part]) -> Outcome {
    var outcome = Outcome(
      loss: parts[0].loss, savedBytes: parts[0].savedBytes, statistics: parts[0].statistics,
      told: parts[0].told)
    for i in 0..<3 { outcome.statistics[i] = parts.reduce(0) { $0 + $1.statistics[i] } }
    for part in parts {
      #expect(part.loss == parts[0].loss, "ranks disagree on the losses")
      for (name, slices, values) in part.gradients {
        let count = slices.globalShape.reduce(1, *)
        var whole = outcome.gradients[name] ?? [Float](repeating: .nan, count: count)
        put(values, slices, into: &whole, name)
        outcome.gradients[name] = whole
      }
    }
    return outcome
  }

  private func put(
    _ values: [Float], _ slices: ParameterSlices, into whole: inout [Float], _ name: String
  ) {
    let width = slices.globalShape.dropFirst().reduce(1, *)
    let localWidth = slices.localShape.dropFirst().reduce(1, *)
    var disagreements = 0
    func put(_ value: Float, at place: Int) {
      if !whole[place].isNaN, whole[place] != value { disagreements += 1 }
      whole[place] = value
    }
    for run in slices.runs {
      if slices.dim == 0 {
        for i in 0..<run.count * width {
          put(values[run.local * width + i], at: run.global * width + i)
        }
      } else {
        for r in 0..<slices.globalShape[0] {
          for c in 0..<run.count {
            put(values[r * localWidth + run.local + c], at: r * width + run.global + c)
          }
        }
      }
    }
    #expect(disagreements == 0, "replicas of \(name) have other gradients")
  }
}

/// Bit equality with the name of the first tensor that differs.
func expectSame(_ a: LayoutRig.Outcome, _ b: LayoutRig.Outcome, _ what: String) {
  #expect(a.loss == b.loss, "\(what): losses differ")
  for (name, values) in a.gradients.sorted(by: { $0.key < $1.key }) {
    let other = b.gradients[name] ?? []
    let wrong = zip(values, other).count { $0.bitPattern != $1.bitPattern && $0 != $1 }
    #expect(
      values.count == other.count && wrong == 0,
      "\(what): \(wrong) of \(values.count) elements of \(name) differ")
  }
}

/// Equality up to the order of additions: differences against the largest element of a tensor.
/// - Parameter scale: what `a` is multiplied by.
func expectClose(
  _ a: LayoutRig.Outcome, _ b: LayoutRig.Outcome, scale: Float = 1, tolerance: Float = 1e-5,
  where chosen: (String) -> Bool = { _ in true }, _ what: String
) {
  #expect(a.gradients.count == b.gradients.count)
  for (name, values) in a.gradients.sorted(by: { $0.key < $1.key }) where chosen(name) {
    let other = b.gradients[name] ?? []
    let largest = other.reduce(Float(1e-6)) { max($0, abs($1)) }
    var worst: Float = 0
    for (x, y) in zip(values, other) {
      let error = abs(x * scale - y) / largest
      worst = error.isNaN ? .infinity : max(worst, error)
    }
    #expect(
      values.count == other.count && worst < tolerance, "\(what): \(name) differs by \(worst)")
  }
}
