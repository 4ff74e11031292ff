import Support
import Tensor
import Testing

@testable import Parallel

/// A stored case of the reference's router. Its tensor- and context-parallel ranks hold consecutive
/// rows of one micro-batch; here they are the ranks of a sequence-parallel group.
private struct RouterRig: Sendable {
  let golden: GoldenCase
  let tensors: GoldenTensors
  let i: Int
  let ranks: Int
  let s: Int
  let b: Int
  let h: Int
  let experts: Int

  init(_ i: Int, _ golden: GoldenCase, _ tensors: GoldenTensors) throws {
    self.golden = golden
    self.tensors = tensors
    self.i = i
    ranks = try golden.int("tp") * golden.int("cp")
    s = try golden.int("s")
    b = try golden.int("b")
    h = try golden.int("h")
    experts = try golden.int("E")
  }

  static func all() throws -> [RouterRig] {
    let tensors = try Golden.tensors("moe_router")
    return try Golden.cases("moe_router").enumerated().map { try RouterRig($0, $1, tensors) }
  }

  func options() throws -> RouterOptions {
    var options = RouterOptions(experts: experts, topK: try golden.int("k"))
    options.score = try #require(RouterOptions.Score(rawValue: golden.text("score")))
    options.preSoftmax = try golden.flag("pre")
    options.balancing = try #require(RouterOptions.Balancing(rawValue: golden.text("type")))
    options.auxLossCoefficient = Float(try golden.double("aux"))
    options.zLossCoefficient = Float(golden.optional("z") ?? 0)
    options.capacityFactor = golden.optional("factor")
    // The stored ranks each count the capacity over their own rows.
    options.capacityScope = .rank
    return options
  }

  /// Stored rows are (position, sample), ours (sample, position).
  func ordered(_ values: [Float]) -> [Float] {
    let width = values.count / (s * b)
    return (0..<b).flatMap { sample in
      (0..<s).flatMap { position in
        let row = position * b + sample
        return values[row * width..<(row + 1) * width]
      }
    }
  }
  func stored(_ name: String) throws -> [Float] { ordered(try tensors.floats("\(i).\(name)")) }

  struct Outcome: Sendable {
    var gates: [Float] = []  // [t, e]
    var chosen: [Bool] = []  // [t, e], kept
    var dx: [Float] = []
    var dw: [[Float]] = []  // of each rank
    var auxiliary = 0.0
    var z = 0.0
  }

  func run() throws -> Outcome {
    let parts = try ThreadWorld.run(ranks: ranks) { try self.rank($0) }
    var outcome = Outcome()
    for part in parts {
      outcome.gates += part.gates
      outcome.chosen += part.chosen
      outcome.dx += part.dx
      outcome.dw += part.dw
      outcome.auxiliary += part.auxiliary
      outcome.z += part.z
    }
    return outcome
  }

  private func setting(_ world: any Communicator, _ engine: Engine) throws -> Setting {
    let alone = SelfWorld(label: "self")
    let samples = (0..<b).map { $0 * s..<($0 + 1) * s }
    let layout = try SequenceLayout(
      starts: (0...b).map { Int32($0 * s) }, realTokens: s * b, paddedSequences: samples, on: engine
    )
    var setting = Setting(
      engine: engine, groups: ModelGroups(tp: world, ep: alone, etp: alone),
      sequenceParallel: ranks > 1, layout: layout, statistics: RouterStatistics())
    setting.seeds.auxiliary = Float(try golden.double("loss_scale"))
    setting.seeds.auxiliaryTimesTokens = try golden.flag("per_token")
    return setting
  }

  private func rank(_ world: any Communicator) throws -> Outcome {
    let engine = try Engine()
    let setting = try setting(world, engine)
    let options = try options()
    let weight = try Parameter.test(
      "router", .whole([experts, h]), try tensors.floats("\(i).weight"), on: engine)
    let own = setting.ownRows
    let tape = Tape()
    let x = tape.leaf(
      try Tensor(
        Array(try stored("x")[own.lowerBound * h..<own.upperBound * h]), [own.count, h],
        on: engine), ranks > 1 ? Placement(tp: .split(0)) : .same)
    let probe = Probe()
    var probed = setting
    probed.probe = probe
    let (gates, routing) = try Router(weight: weight, options: options)(
      x, in: Context(tape: tape, setting: probed))
    let choice = try #require(probe.routings["router"]).choice
    let dense = try stored("grad_gates")
    let slots = gates.tensor.values.indices.map { slot in
      (own.lowerBound + slot / options.topK) * experts + Int(choice.experts[slot])
    }
    try tape.seed(gates, with: try Tensor(slots.map { dense[$0] }, gates.shape, on: engine))
    try tape.backward()
    var outcome = Outcome()
    outcome.gates = [Float](repeating: 0, count: own.count * experts)
    outcome.chosen = [Bool](repeating: false, count: own.count * experts)
    for (slot, gate) in gates.tensor.values.enumerated() {
      let place = slots[slot] - own.lowerBound * experts
      outcome.gates[place] = gate
      outcome.chosen[place] = routing.kept[slot]
    }
    outcome.dx = try #require(tape.gradient(of: x)).values
    outcome.dw = [weight.gradientValues]
    outcome.auxiliary = setting.statistics?.auxiliaryLoss ?? .nan
    outcome.z = setting.statistics?.zLoss ?? .nan
    return outcome
  }
}

@Suite("The router against stored runs")
struct RouterGoldenTests {
  /// Runs with a bias on the scores are compared by `biasedChoice`.
  private func plain() throws -> [RouterRig] {
    try RouterRig.all().filter { !$0.golden.has("bias") }
  }

  @Test("Gates and kept rows are the reference's")
  func gates() throws {
    for rig in try plain() {
      let outcome = try rig.run()
      #expect(difference(outcome.gates, try rig.stored("gates")) < 1e-5, "case \(rig.i)")
      let map = rig.ordered(try rig.tensors.bools("\(rig.i).map").map { $0 ? 1 : 0 })
      #expect(outcome.chosen == map.map { $0 == 1 }, "case \(rig.i)")
    }
  }

  /// The reference weighs an auxiliary loss per token by the rows of one rank of the group; here it
  /// is all rows of the group, so that the group's size changes nothing.
  private func chosenRule(_ rig: RouterRig) throws -> Float {
    guard try rig.golden.flag("per_token"), rig.ranks > 1 else { return 1 }
    // True for the auxiliary part only, and these cases have no other.
    #expect(try !rig.golden.flag("grad_gates"))
    return Float(rig.ranks)
  }

  @Test("Gradients of input and weight are the reference's, with auxiliary and z-loss")
  func gradients() throws {
    for rig in try plain() {
      let outcome = try rig.run()
      let factor = try chosenRule(rig)
      let dx = try rig.stored("grad_x").map { $0 * factor }
      #expect(difference(outcome.dx, dx) < 1e-5, "case \(rig.i)")
      var dw = [Float](repeating: 0, count: rig.experts * rig.h)
      for rank in 0..<rig.ranks {
        let part = try rig.tensors.floats("\(rig.i).grad_weight.rank\(rank)")
        for j in dw.indices { dw[j] += part[j] * factor }
      }
      for rank in outcome.dw { #expect(difference(rank, dw) < 1e-5, "case \(rig.i)") }
    }
  }

  @Test("Logged losses are the reference's, the z-loss as the mean over the ranks")
  func logged() throws {
    for rig in try plain() {
      let outcome = try rig.run()
      let auxiliary = rig.golden.json["logged_reduced"]?["load_balancing_loss"]?.double ?? 0
      #expect(abs(outcome.auxiliary - auxiliary) < 1e-5 * max(1, auxiliary), "case \(rig.i)")
      guard rig.golden.has("z") else { continue }
      let shares = try #require(rig.golden.json["logged_per_rank"]?.array).compactMap {
        $0["z_loss"]?.double
      }
      #expect(shares.count == rig.ranks)
      let z = shares.reduce(0, +) / Double(rig.ranks)
      #expect(abs(outcome.z - z) < 1e-5 * max(1, z), "case \(rig.i)")
    }
  }

  @Test("A bias on the scores decides the choice and leaves the gates alone")
  func biasedChoice() throws {
    let rig = try #require(try RouterRig.all().first { $0.golden.has("bias") })
    let bias = try #require(rig.golden.json["bias"]?.array).compactMap(\.double).map(Float.init)
    let options = try rig.options()
    let engine = try Engine()
    let weight = try Parameter.test(
      "router", .whole([rig.experts, rig.h]), try rig.tensors.floats("\(rig.i).weight"), on: engine)
    let x = try Tensor(try rig.stored("x"), [rig.s, rig.h], on: engine)
    let logits = try Router(weight: weight, options: options).logits(of: x)
    let choice = ExpertChoice(
      logits: UnsafeBufferPointer(logits.floats), options: options, bias: bias, engine: engine)
    var gates = [Float](repeating: 0, count: rig.s * rig.experts)
    var counts = [Double](repeating: 0, count: rig.experts)
    for (slot, expert) in choice.experts.enumerated() {
      gates[slot / options.topK * rig.experts + Int(expert)] = choice.gates[slot]
      counts[Int(expert)] += 1
    }
    #expect(difference(gates, try rig.stored("gates")) < 1e-5)
    let stored = try #require(rig.golden.json["counts_per_rank"]?.array?.first?.array)
    #expect(counts == stored.compactMap(\.double))
  }
}
