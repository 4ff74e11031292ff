import Model
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
  var tokens = [7, 9]
  var dtype = DType.float32
  var plan = RecomputePlan()
  var adjust: @Sendable (inout RouterOptions) -> Void = { _ in }
  var threads = 1

  func config() throws -> QwenConfig {
    let moe =
      experts == 0
      ? "" : """
        ,"num_experts": \(experts), "num_experts_per_tok": \(topK), "moe_intermediate_size": 24,
        "norm_topk_prob": true, "mlp_only_layers": [1]
        """
    let text = """
      {"model_type": "\(experts == 0 ? "qwen3" : "qwen3_moe")", "vocab_size": 64, "hidden_size": 32,
       "intermediate_size": 48, "num_hidden_layers": \(layers), "num_attention_heads": 8,
       "num_key_value_heads": 4, "head_dim": 8, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
       "tie_word_embeddings": \(tied), "initializer_range": 0.2\(moe)}
      """
    return try QwenConfig(json: try JSONValue.parse(text), path: "test")
  }

  struct Outcome: Equatable, Sendable {
    var loss: [Float] = []
    var gradients: [String: [Float]] = [:]
  }

  /// Runs on `ranks` ranks that are all tensor-parallel; experts lie over `ep` of them.
  func run(ranks: Int, sequenceParallel: Bool, ep: Int = 1) throws -> Outcome {
    let parts = try ThreadWorld.run(ranks: ranks) { (world) throws(Fault) in
      try self.rank(world, sequenceParallel: sequenceParallel, ep: ep)
    }
    return merge(parts)
  }

  private struct Part: Sendable {
    var loss: [Float]
    var gradients: [(name: String, slices: ParameterSlices, values: [Float])]
  }

  private func rank(_ world: any Communicator, sequenceParallel: Bool, ep: Int) throws(Fault)
    -> Part
  {
    let alone = try world.split(color: world.rank, key: 0, label: "self")
    let experts = try world.split(color: world.rank / ep, key: world.rank, label: "ep")
    let engine = try Engine(threads: threads)
    var layout = ModelLayout()
    layout.tp = (world.rank, world.size)
    layout.ep = (experts.rank, experts.size)
    let config: QwenConfig
    do { config = try self.config() } catch { throw Fault(.internalError, "\(error)") }
    var router = config.experts.map { RouterOptions(experts: $0.count, topK: $0.topK) }
    if router != nil { adjust(&router!) }
    let model = try QwenText(config, layout: layout, dtype: dtype, router: router, on: engine)
    try model.initialize(seed: 1)
    for p in model.parameters { p.gradient = try Tensor.zeros(p.shape, .float32, on: engine) }
    let (input, sequence) = try row(pad: sequenceParallel, engine)
    let setting = Setting(
      engine: engine, groups: ModelGroups(tp: world, ep: experts, etp: alone),
      sequenceParallel: sequenceParallel, layout: sequence, recompute: plan.modules)
    let tape = Tape()
    let result = try model.loss(input, plan: plan, in: Context(tape: tape, setting: setting))
    try tape.seed(result.loss, with: try Tensor([1], [1], on: engine))
    try tape.backward()
    return Part(
      loss: Array(result.perToken.prefix(tokens.reduce(0, +))),
      gradients: model.parameters.map { ($0.name, $0.slices, $0.gradient?.values ?? []) })
  }

  /// A packed row of documents with random tokens; a third of the tokens is not trained.
  private func row(pad: Bool, _ engine: Engine) throws(Fault) -> (TextInput, SequenceLayout) {
    let random = CounterRandom(seed: 4, purpose: "row")
    let t = tokens.reduce(0, +)
    let padding = pad ? (8 - t % 8) % 8 : 0
    var ids = (0..<t).map { Int32(random.uniform($0) * 64) }
    var labels = (0..<t).map { random.uniform(1000 + $0) < 0.33 ? -100 : ids[($0 + 1) % t] }
    var starts: [Int32] = [0]
    var positions: [Int32] = []
    for length in tokens {
      starts.append(starts[starts.count - 1] + Int32(length))
      positions += (0..<Int32(length))
      labels[Int(starts[starts.count - 1]) - 1] = -100
    }
    for i in 0..<padding {
      ids.append(0)
      labels.append(-100)
      positions.append(0)
      starts.append(Int32(t + i + 1))
    }
    let layout = try SequenceLayout(starts: starts, realTokens: t, on: engine)
    return (
      TextInput(
        ids: try Tensor(ids, on: engine), positions: positions,
        labels: .init(shifted: labels, weights: nil)), layout
    )
  }

  /// Whole gradients: slices put in place; equal copies must be equal.
  private func merge(_ parts: [Part]) -> Outcome {
    var outcome = Outcome(loss: parts[0].loss)
    for part in parts {
      #expect(part.loss == parts[0].loss, "ranks disagree on the losses")
      for (name, slices, values) in part.gradients {
        let count = slices.globalShape.reduce(1, *)
        var whole = outcome.gradients[name] ?? [Float](repeating: .nan, count: count)
        let width = slices.globalShape.dropFirst().reduce(1, *)
        let localWidth = slices.localShape.dropFirst().reduce(1, *)
        func put(_ value: Float, at place: Int) {
          #expect(
            whole[place].isNaN || whole[place] == value, "replicas of \(name) have other gradients")
          whole[place] = value
        }
        for run in slices.runs {
          if slices.dim == 0 {
            for i in 0..<run.count * width { put(values[run.local * width + i], at: run.global * width + i) }
          } else {
            for r in 0..<slices.globalShape[0] {
              for c in 0..<run.count {
                put(values[r * localWidth + run.local + c], at: r * width + run.global + c)
              }
            }
          }
        }
        outcome.gradients[name] = whole
      }
    }
    return outcome
  }
}

/// Bit equality with the name of the first tensor that differs.
func expectSame(_ a: LayoutRig.Outcome, _ b: LayoutRig.Outcome, _ what: String) {
  #expect(a.loss == b.loss, "\(what): losses differ")
  for (name, values) in a.gradients.sorted(by: { $0.key < $1.key }) {
    let other = b.gradients[name] ?? []
    let wrong = zip(values, other).count { $0.bitPattern != $1.bitPattern && $0 != $1 }
    #expect(values.count == other.count && wrong == 0, "\(what): \(wrong) of \(values.count) elements of \(name) differ")
  }
}
