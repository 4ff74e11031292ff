import Model
import Parallel
import Support
import Tensor
import Testing

/// The same bits in every layout, in process.
@Suite(.serialized) struct LayoutEqualityTests {
  @Test("dense: tp 2 and 4 give the bits of one rank", arguments: [DType.float32, .bfloat16])
  func dense(dtype: DType) throws {
    var rig = LayoutRig()
    rig.dtype = dtype
    let one = try rig.run(ranks: 1, sequenceParallel: false)
    for tp in [2, 4] {
      expectSame(one, try rig.run(ranks: tp, sequenceParallel: false), "tp \(tp)")
    }
  }

  @Test("dense: sequence parallelism changes no bit", arguments: [[16], [7, 9], [5, 8], [3]])
  func sequenceParallel(tokens: [Int]) throws {
    var rig = LayoutRig(tied: true)
    rig.tokens = tokens
    let one = try rig.run(ranks: 1, sequenceParallel: false)
    for tp in [2, 4] {
      expectSame(one, try rig.run(ranks: tp, sequenceParallel: true), "tp \(tp) sp \(tokens)")
    }
  }

  @Test("experts: tp + sp + ep give the bits of one rank", arguments: [DType.float32, .bfloat16])
  func experts(dtype: DType) throws {
    var rig = LayoutRig(layers: 3, experts: 8)
    rig.dtype = dtype
    rig.adjust = {
      $0.auxLossCoefficient = 0.01; $0.zLossCoefficient = 0.001
    }
    let one = try rig.run(ranks: 1, sequenceParallel: false)
    for ranks in [2, 4] {
      expectSame(
        one, try rig.run(ranks: ranks, sequenceParallel: true, ep: ranks), "ep \(ranks)")
    }
  }

  @Test("experts under a capacity drop the same tokens in every layout")
  func capacity() throws {
    for policy in [RouterOptions.DropPolicy.probs, .position] {
      for pads in [false, true] {
        var rig = LayoutRig(layers: 2, experts: 4)
        rig.adjust = {
          $0.capacityFactor = 0.75
          $0.dropPolicy = policy
          $0.padsToCapacity = pads
        }
        let one = try rig.run(ranks: 1, sequenceParallel: false)
        expectSame(one, try rig.run(ranks: 2, sequenceParallel: true, ep: 2), "\(policy) \(pads)")
      }
    }
  }

  @Test("recomputation of any kind changes no bit") func recompute() throws {
    for experts in [0, 4] {
      var rig = LayoutRig(layers: 3, experts: experts)
      let one = try rig.run(ranks: 1, sequenceParallel: false)
      let plans = [
        RecomputePlan(method: .uniform(layers: 1)), RecomputePlan(method: .uniform(layers: 3)),
        RecomputePlan(method: .block(layers: 2)),
        RecomputePlan(modules: [.layerNorm]), RecomputePlan(modules: [.expertActivation]),
        RecomputePlan(modules: [.mlp, .moe, .coreAttention]),
      ]
      for plan in plans {
        rig.plan = plan
        expectSame(one, try rig.run(ranks: 1, sequenceParallel: false), "\(plan)")
        expectSame(
          one, try rig.run(ranks: 2, sequenceParallel: true, ep: experts > 0 ? 2 : 1),
          "\(plan) tp 2")
      }
    }
  }

  @Test("threads change no bit", arguments: [2, 3]) func threads(count: Int) throws {
    var rig = LayoutRig(layers: 2, experts: 4)
    let one = try rig.run(ranks: 1, sequenceParallel: false)
    rig.threads = count
    expectSame(one, try rig.run(ranks: 1, sequenceParallel: false), "\(count) threads")
  }

  @Test("experts split over etp give the bits of one rank", arguments: [(2, 1), (4, 1), (4, 2)])
  func splitExperts(ranks: Int, ep: Int) throws {
    var rig = LayoutRig(layers: 3, experts: 4)
    rig.adjust = { $0.auxLossCoefficient = 0.01 }
    expectSame(
      try rig.run(),
      try rig.run(ranks: ranks, sequenceParallel: true, ep: ep, etp: ranks / ep),
      "tp \(ranks) ep \(ep) etp \(ranks / ep)")
  }

  @Test(
    "replicated experts: the sum over the replicas is the gradient of one rank to rounding",
    arguments: [(2, 1, 1), (4, 1, 1), (4, 2, 1), (4, 1, 2)])
  func replicatedExperts(ranks: Int, ep: Int, etp: Int) throws {
    var rig = LayoutRig(layers: 3, experts: 4)
    rig.tokens = [11, 13]
    let one = try rig.run()
    let other = try rig.run(ranks: ranks, sequenceParallel: true, ep: ep, etp: etp)
    #expect(other.loss == one.loss)
    let isExpert = { (name: String) in name.contains(".experts.") }
    expectClose(other, one, tolerance: 2e-6, where: isExpert, "tp \(ranks) ep \(ep) etp \(etp)")
    // All other gradients do not notice.
    var (a, b) = (one, other)
    for name in one.gradients.keys where isExpert(name) {
      a.gradients[name] = nil
      b.gradients[name] = nil
    }
    expectSame(a, b, "tp \(ranks) ep \(ep) etp \(etp)")
  }
}
