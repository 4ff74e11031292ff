import Model
import Parallel
import Support
import Tensor
import Testing

/// A random model, random documents and a random layout that fits them.
private struct Draw: CustomStringConvertible {
  let seed: Int
  var rig: LayoutRig
  let ranks: Int
  let ep: Int
  let etp: Int
  let sequenceParallel: Bool

  init(seed: Int) {
    self.seed = seed
    let random = CounterRandom(seed: UInt64(seed), purpose: "layout")
    var place = 0
    func pick<T>(_ choices: [T]) -> T {
      place += 1
      return choices[Int(random.bits(place) % UInt64(choices.count))]
    }
    var rig = LayoutRig()
    rig.layers = pick([1, 2, 3])
    rig.groups = pick([2, 4, 6, 8])
    rig.heads = rig.groups * pick([1, 2, 3])
    rig.headSize = pick([8, 12, 16, 32, 64])
    rig.hidden = pick([16, 24, 40])
    rig.feedForward = pick([16, 24, 40, 56])
    rig.vocabulary = pick([32, 40, 72])
    rig.tied = pick([true, false])
    rig.dtype = pick([.float32, .bfloat16])
    rig.tokens = (0..<pick([1, 2, 3, 5])).map { _ in pick(Array(1...12)) }
    let (experts, topK) = pick([(0, 0), (4, 1), (8, 2), (12, 3), (12, 3)])
    (rig.experts, rig.topK) = (experts, topK)
    rig.expertWidth = pick([8, 16, 24, 40])
    rig.denseLayers = pick([[], [0], [1], [0, 2]])
    let normalizes = topK > 1
    let coefficient = pick([Float(0), 0.01])
    let factor = pick([nil, nil, 0.75, 1.25] as [Double?])
    let pads = pick([true, false])
    let policy = pick([RouterOptions.DropPolicy.probs, .position])
    rig.adjust = {
      $0.preSoftmax = !normalizes
      $0.auxLossCoefficient = coefficient
      $0.zLossCoefficient = coefficient / 10
      $0.capacityFactor = factor
      $0.padsToCapacity = pads && factor != nil
      $0.dropPolicy = policy
    }
    rig.plan = pick([
      RecomputePlan(), RecomputePlan(method: .uniform(layers: 1)), RecomputePlan(modules: [.moe]),
    ])
    // Layouts whose groups divide the canonical chunks give the same bits.
    let groups = rig.groups
    ranks = pick([2, 4].filter { CanonicalOrder.chunks(groups) % $0 == 0 })
    let ranks = ranks
    let placements = experts == 0 ? [(1, 1)] : [(ranks, 1), (1, ranks), (ranks / 2, 2)]
    (ep, etp) = pick(placements)
    // Experts need sequence parallelism in a larger group.
    sequenceParallel = experts > 0 || pick([true, false])
    self.rig = rig
  }

  var description: String {
    "seed \(seed): tp \(ranks)\(sequenceParallel ? " sp" : "") ep \(ep) etp \(etp), \(rig)"
  }
}

@Suite("Random models and layouts", .serialized)
struct RandomLayoutTests {
  @Test("A random layout gives the bits of one rank", arguments: 0..<24)
  func sameBits(seed: Int) throws {
    let draw = Draw(seed: seed)
    let one = try draw.rig.run()
    #expect(one.loss.allSatisfy { $0.isFinite })
    let other = try draw.rig.run(
      ranks: draw.ranks, sequenceParallel: draw.sequenceParallel, ep: draw.ep, etp: draw.etp)
    expectSame(one, other, "\(draw)")
  }

  @Test(
    "Three ranks, which divide no canonical cut, agree to rounding",
    arguments: [(0, 1, 1, false), (0, 1, 1, true), (12, 3, 1, true), (12, 1, 3, true)])
  func threeRanks(experts: Int, ep: Int, etp: Int, sequenceParallel: Bool) throws {
    var rig = LayoutRig(layers: 3, experts: experts, topK: 3)
    (rig.groups, rig.heads, rig.vocabulary) = (3, 9, 72)
    rig.adjust = {
      $0.auxLossCoefficient = 0.01
      $0.capacityFactor = 1.25
    }
    let one = try rig.run()
    rig.multiple = sequenceParallel ? 24 : 1
    let three = try rig.run(ranks: 3, sequenceParallel: sequenceParallel, ep: ep, etp: etp)
    for (a, b) in zip(one.loss, three.loss) { #expect(abs(a - b) <= 1e-5 * max(1, a)) }
    expectClose(three, one, tolerance: 2e-5, "three ranks")
  }
}
