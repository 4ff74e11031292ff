import Support
import Tensor
import Testing

@testable import Parallel

/// What must hold for any router logits.
@Suite("Rules of routing")
struct ExpertRuleTests {
  /// Random logits of `tokens` rows, and the sizes they are for.
  private struct Draw: CustomStringConvertible {
    let seed: Int
    let tokens: Int
    var options: RouterOptions
    let logits: [Float]

    init(_ seed: Int) {
      self.seed = seed
      let random = CounterRandom(seed: UInt64(seed), purpose: "router")
      func pick(_ place: Int, _ range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(random.bits(place) % UInt64(range.count))
      }
      let experts = pick(0, 2...12)
      tokens = pick(2, 1...40)
      options = RouterOptions(experts: experts, topK: pick(1, 1...min(4, experts)))
      logits = (0..<tokens * experts).map { Float(random.normal(100 + $0)) }
    }

    var description: String {
      "seed \(seed): \(tokens) rows, \(options.experts) experts, top \(options.topK)"
    }
    func choice(on engine: Engine) -> ExpertChoice {
      logits.withUnsafeBufferPointer {
        ExpertChoice(logits: $0, options: options, engine: engine)
      }
    }
    func capacity(_ factor: Double) -> Int {
      Capacity.limit(
        tokens: tokens, topK: options.topK, experts: options.experts, factor: factor)
    }
  }

  @Test("A capacity factor of E/k drops nothing")
  func fullCapacity() throws {
    for seed in 0..<40 {
      let draw = Draw(seed)
      let choice = draw.choice(on: try Engine())
      let capacity = draw.capacity(Double(draw.options.experts) / Double(draw.options.topK))
      let (kept, fill) = Capacity.keep(
        experts: choice.experts, gates: choice.gates, options: draw.options, capacity: capacity)
      #expect(!kept.contains(false) && fill.allSatisfy(\.isEmpty), "\(draw)")
    }
  }

  @Test(
    "An expert keeps the rows of largest gates, or the first rows, up to its capacity",
    arguments: [RouterOptions.DropPolicy.probs, .position])
  func keptSet(policy: RouterOptions.DropPolicy) throws {
    var dropped = 0
    for seed in 0..<40 {
      var draw = Draw(seed)
      draw.options.dropPolicy = policy
      let choice = draw.choice(on: try Engine())
      let capacity = draw.capacity(0.7)
      let kept = Capacity.keep(
        experts: choice.experts, gates: choice.gates, options: draw.options, capacity: capacity
      ).kept
      for expert in 0..<draw.options.experts {
        let slots = choice.experts.indices.filter { choice.experts[$0] == Int32(expert) }
        let order =
          policy == .position
          ? slots : slots.sorted { (-choice.gates[$0], $0) < (-choice.gates[$1], $1) }
        #expect(Set(slots.filter { kept[$0] }) == Set(order.prefix(capacity)), "\(draw)")
        dropped += max(0, slots.count - capacity)
      }
    }
    #expect(dropped > 100)
  }

  @Test("With padding to the capacity every expert has as many rows, none of them twice")
  func padded() throws {
    for seed in 0..<40 {
      var draw = Draw(seed)
      draw.options.padsToCapacity = true
      let choice = draw.choice(on: try Engine())
      let capacity = draw.capacity(1.1)
      let (kept, fill) = Capacity.keep(
        experts: choice.experts, gates: choice.gates, options: draw.options, capacity: capacity)
      for expert in 0..<draw.options.experts {
        let rows =
          choice.experts.indices
          .filter { kept[$0] && choice.experts[$0] == Int32(expert) }
          .map { $0 / draw.options.topK } + fill[expert]
        #expect(rows.count == capacity && Set(rows).count == capacity, "\(draw)")
      }
    }
  }

  @Test("Threads share the rows of a choice and of its derivative and change no bit")
  func choiceOnThreads() throws {
    let options = RouterOptions(experts: 12, topK: 3)
    let random = CounterRandom(seed: 11, purpose: "choice")
    let logits = (0..<1000 * 12).map { Float(random.normal($0)) }
    let dgates = (0..<1000 * 3).map { Float(random.normal(50_000 + $0)) }
    func outcome(threads: Int) throws -> ([Int32], [Float], [Float]) {
      let engine = try Engine(threads: threads)
      var dz = [Float](repeating: 0, count: logits.count)
      let choice = logits.withUnsafeBufferPointer { z in
        let choice = ExpertChoice(logits: z, options: options, engine: engine)
        dgates.withUnsafeBufferPointer { dg in
          dz.withUnsafeMutableBufferPointer {
            choice.addLogitGradient(
              of: dg, logits: z, options: options, engine: engine, into: $0)
          }
        }
        return choice
      }
      return (choice.experts, choice.gates, dz)
    }
    let one = try outcome(threads: 1)
    let three = try outcome(threads: 3)
    #expect(one.0 == three.0)
    #expect(one.1 == three.1)
    #expect(one.2 == three.2)
    #expect(one.2.contains { $0 != 0 })
  }

  @Test("The gates of a row sum to 1")
  func gatesSumToOne() throws {
    for seed in 0..<40 {
      let draw = Draw(seed)
      let gates = draw.choice(on: try Engine()).gates
      for row in 0..<draw.tokens {
        let sum = gates[row * draw.options.topK..<(row + 1) * draw.options.topK].reduce(0, +)
        #expect(abs(sum - 1) < 1e-6, "\(draw) row \(row)")
      }
    }
  }

  // MARK: - The layer

  /// An expert layer with random weights on one rank.
  private struct Rig {
    var options = RouterOptions(experts: 4, topK: 2)
    var routerScale: Float = 1
    var replay: RoutingReplay?
    let tokens = 24
    let hidden = 8

    struct Outcome {
      var y: [Float] = []
      var kept: [Bool] = []
      var experts: [Int32] = []
      var gates: [Float] = []
      var routerGradient: [Float] = []
      var statistics = RouterStatistics()
    }

    func values(_ name: String, _ count: Int, _ scale: Float) -> [Float] {
      let random = CounterRandom(seed: 3, purpose: name)
      return (0..<count).map { Float(random.normal($0)) * scale }
    }

    func run() throws -> Outcome {
      let engine = try Engine()
      let (e, h, f) = (options.experts, hidden, 4)
      var outcome = Outcome()
      let probe = Probe()
      var setting = try Setting.test(tokens: tokens, on: engine)
      setting.statistics = outcome.statistics
      setting.probe = probe
      setting.replay = replay
      let weight = try Parameter.test(
        "router", .whole([e, h]), values("router", e * h, routerScale), on: engine)
      let layer = ExpertLayer(
        router: Router(weight: weight, options: options),
        experts: GroupedExperts(
          input: try (0..<e).map {
            try Parameter.test(
              "fc1", .gated(width: f, columns: h, chunks: 1, rank: 0, of: 1),
              values("fc1.\($0)", 2 * f * h, 0.5), on: engine)
          },
          output: try (0..<e).map {
            try Parameter.test("fc2", .whole([h, f]), values("fc2.\($0)", h * f, 0.5), on: engine)
          }, parts: 1))
      let tape = Tape()
      let x = tape.leaf(try Tensor(values("x", tokens * h, 1), [tokens, h], on: engine))
      let y = try layer(x, in: Context(tape: tape, setting: setting))
      try tape.seed(y, with: try Tensor(values("dy", tokens * h, 1), [tokens, h], on: engine))
      try tape.backward()
      outcome.y = y.tensor.values
      let routing = try #require(probe.routings["router"])
      outcome.kept = routing.kept
      outcome.experts = routing.choice.experts
      outcome.gates = routing.choice.gates
      outcome.routerGradient = weight.gradientValues
      return outcome
    }
  }

  @Test("A row that lost all its experts gets 0, so the residual passes unchanged")
  func lostRows() throws {
    var rig = Rig()
    rig.options.capacityFactor = 0.3
    let outcome = try rig.run()
    let lost = (0..<rig.tokens).filter { !outcome.kept[2 * $0] && !outcome.kept[2 * $0 + 1] }
    #expect(!lost.isEmpty && lost.count < rig.tokens)
    for row in 0..<rig.tokens {
      let y = outcome.y[row * rig.hidden..<(row + 1) * rig.hidden]
      #expect(y.allSatisfy { $0 == 0 } == lost.contains(row), "row \(row)")
    }
  }

  @Test("Uniform logits give a load-balancing loss of 1", arguments: [1, 2, 3])
  func uniform(topK: Int) throws {
    var rig = Rig(options: RouterOptions(experts: 6, topK: topK), routerScale: 0)
    rig.options.auxLossCoefficient = 0.01
    #expect(abs(try rig.run().statistics.auxiliaryLoss - 1) < 1e-6)
  }

  @Test("A coefficient of 0 gives the gradient of no balancing and logs 0")
  func coefficientZero() throws {
    var rig = Rig()
    rig.options.balancing = .none
    let none = try rig.run()
    rig.options.balancing = .auxLoss
    let zero = try rig.run()
    #expect(zero.routerGradient == none.routerGradient)
    #expect(zero.statistics.auxiliaryLoss == 0 && zero.statistics.zLoss == 0)
    rig.options.auxLossCoefficient = 0.1
    let some = try rig.run()
    #expect(some.routerGradient != none.routerGradient)
    #expect(some.y == none.y)
  }

  @Test("A router that takes over its own choices gives the same bits", arguments: [nil, 0.6])
  func replayedAlike(factor: Double?) throws {
    var rig = Rig()
    rig.options.capacityFactor = factor
    let free = try rig.run()
    #expect(free.kept.contains(false) == (factor != nil))
    rig.options.capacityFactor = nil
    rig.replay = RoutingReplay(["router": .init(experts: free.experts, kept: free.kept)])
    let again = try rig.run()
    #expect(again.y == free.y && again.kept == free.kept)
    #expect(again.routerGradient == free.routerGradient)
  }

  @Test("Other choices that are taken over get the gates of the router's own logits")
  func replayedOtherwise() throws {
    var rig = Rig()
    let free = try rig.run()
    // The other two of four experts.
    let others = stride(from: 0, to: free.experts.count, by: 2).flatMap { slot in
      (0..<Int32(4)).filter { !free.experts[slot..<slot + 2].contains($0) }
    }
    rig.replay = RoutingReplay(["router": .init(experts: others)])
    let forced = try rig.run()
    #expect(forced.experts == others)
    for row in 0..<rig.tokens {
      let sum = forced.gates[2 * row] + forced.gates[2 * row + 1]
      #expect(abs(sum - 1) < 1e-6 && forced.gates[2 * row] != free.gates[2 * row])
    }
    rig.replay = RoutingReplay(["another": .init(experts: others)])
    #expect(try rig.run().y == free.y)
  }

}
