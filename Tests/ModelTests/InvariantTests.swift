import Model
import Parallel
import Support
import Tensor
import Testing

/// What must hold for the loss and its gradients whatever the model.
@Suite("Invariants of loss and gradients", .serialized)
struct InvariantTests {
  private func rig(_ experts: Int) -> LayoutRig { LayoutRig(layers: 2, experts: experts) }

  @Test("Every row twice: the same mean loss and gradient per token", arguments: [0, 4])
  func duplicates(experts: Int) throws {
    var rig = rig(experts)
    let once = try rig.run()
    rig.tokens += rig.tokens
    rig.texts = [0, 1, 0, 1]
    let twice = try rig.run()
    #expect(twice.loss == once.loss + once.loss)
    expectClose(once, twice, scale: 2, "twice")
  }

  @Test("Packed documents have the losses and gradients of rows of their own", arguments: [0, 4])
  func packing(experts: Int) throws {
    var rig = rig(experts)
    let packed = try rig.run()
    var alone: [LayoutRig.Outcome] = []
    for (text, length) in rig.tokens.enumerated() {
      rig.tokens = [length]
      rig.texts = [text]
      alone.append(try rig.run())
    }
    #expect(packed.loss == alone.flatMap(\.loss))
    var sum = alone[0]
    for (name, values) in alone[1].gradients {
      sum.gradients[name] = zip(sum.gradients[name] ?? [], values).map { $0 + $1 }
    }
    expectClose(packed, sum, "packed")
  }

  @Test("Another first document changes no loss of the second", arguments: [0, 4])
  func noLeak(experts: Int) throws {
    var rig = rig(experts)
    let one = try rig.run()
    rig.texts = [17, 1]
    let other = try rig.run()
    let first = rig.tokens[0]
    #expect(one.loss[..<first] != other.loss[..<first])
    #expect(one.loss[first...] == other.loss[first...])
  }

  @Test("Padding changes no loss, and gradients to rounding", arguments: [0, 4])
  func padding(experts: Int) throws {
    var rig = rig(experts)
    rig.adjust = {
      $0.auxLossCoefficient = 0.01
      $0.capacityFactor = 0.75
    }
    let bare = try rig.run()
    for multiple in [17, 24, 40] {
      rig.multiple = multiple
      let padded = try rig.run()
      #expect(padded.loss == bare.loss, "padded to \(multiple)")
      #expect(padded.statistics == bare.statistics, "padded to \(multiple)")
      expectClose(padded, bare, "padded to \(multiple)")
    }
  }

  @Test("A row without trained tokens gives gradients of 0 and no NaN", arguments: [0, 4])
  func nothingTrained(experts: Int) throws {
    var rig = rig(experts)
    rig.trained = 0
    for (ranks, ep) in [(1, 1), (2, experts > 0 ? 2 : 1)] {
      let outcome = try rig.run(ranks: ranks, sequenceParallel: ranks > 1, ep: ep)
      #expect(outcome.loss.allSatisfy { $0 == 0 })
      for (name, values) in outcome.gradients {
        #expect(values.allSatisfy { $0 == 0 }, "\(name) on \(ranks) ranks")
      }
    }
  }

  @Test("Recomputation counts router statistics once")
  func statistics() throws {
    var rig = rig(4)
    rig.adjust = {
      $0.auxLossCoefficient = 0.01
      $0.zLossCoefficient = 0.001
      $0.capacityFactor = 0.75
    }
    let plain = try rig.run()
    #expect(plain.statistics.allSatisfy { $0 > 0 })
    for plan in [
      RecomputePlan(method: .uniform(layers: 1)), RecomputePlan(method: .uniform(layers: 2)),
      RecomputePlan(method: .block(layers: 1)), RecomputePlan(modules: [.moe]),
      RecomputePlan(method: .uniform(layers: 2), modules: [.moe, .expertActivation]),
    ] {
      rig.plan = plan
      #expect(try rig.run().statistics == plain.statistics, "\(plan)")
    }
  }

  @Test("Router statistics are those of one rank in every layout", arguments: [2, 4])
  func statisticsOfLayouts(ranks: Int) throws {
    var rig = rig(4)
    rig.adjust = {
      $0.auxLossCoefficient = 0.01
      $0.zLossCoefficient = 0.001
      $0.capacityFactor = 0.75
    }
    let one = try rig.run().statistics
    let other = try rig.run(ranks: ranks, sequenceParallel: true, ep: ranks).statistics
    for (a, b) in zip(one, other) { #expect(abs(a - b) <= 1e-6 * a) }
  }

  @Test("Expert gradients are equal for all ways to place experts on two tensor-parallel ranks")
  func expertPlacements() throws {
    let rig = LayoutRig(layers: 2, experts: 4)
    let one = try rig.run()
    let isExpert = { (name: String) in name.contains(".experts.") }
    #expect(one.gradients.keys.contains(where: isExpert))
    for (ep, etp, what) in [(1, 1, "replicated"), (2, 1, "ep 2"), (1, 2, "etp 2")] {
      let other = try rig.run(ranks: 2, sequenceParallel: true, ep: ep, etp: etp)
      expectClose(other, one, where: isExpert, what)
    }
  }
}
