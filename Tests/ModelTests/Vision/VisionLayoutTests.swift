import Model
import Parallel
import Support
import Tensor
import Testing

/// A model with a tower gives the same bits in every layout.
@Suite(.serialized) struct VisionLayoutTests {
  private static let grids: [[PatchGrid]] = [
    [PatchGrid(t: 1, h: 4, w: 2), PatchGrid(t: 2, h: 2, w: 4)], [],
    [PatchGrid(t: 1, h: 2, w: 2), PatchGrid(t: 1, h: 6, w: 4)],
  ]

  private func rig(experts: Int = 0) -> LayoutRig {
    var rig = LayoutRig(experts: experts)
    rig.pictures = Self.grids
    rig.tokens = [13, 6, 11]
    rig.denseLayers = []
    rig.vocabulary = 500
    return rig
  }

  private static func isTower(_ name: String) -> Bool { name.hasPrefix(QwenVision.prefix) }
  private static func isAligner(_ name: String) -> Bool {
    isTower(name) && name.contains("merger")
  }

  @Test("a row without pictures is walked back while a tower is trained, as its peers wait for it")
  func withoutPictures() throws {
    var rig = rig(experts: 4)
    rig.pictures = [[], [], []]
    rig.frozen = { !Self.isTower($0) }
    #expect(try rig.run().savedBytes > 0)
  }

  @Test("a trained tower is shared by whole slices, with and without sequence parallelism")
  func trained() throws {
    for dtype in [DType.float32, .bfloat16] {
      var rig = rig()
      rig.dtype = dtype
      let one = try rig.run()
      let silent = one.gradients.filter { Self.isTower($0.key) && $0.value.allSatisfy { $0 == 0 } }
      #expect(silent.isEmpty, "no gradient reaches \(silent.keys.sorted())")
      for tp in [2, 4] {
        for split in [false, true] {
          expectSame(one, try rig.run(ranks: tp, sequenceParallel: split), "tp \(tp) sp \(split)")
        }
      }
    }
  }

  @Test("experts: tp + sp + ep") func experts() throws {
    var rig = rig(experts: 4)
    rig.adjust = { $0.auxLossCoefficient = 0.01 }
    let one = try rig.run()
    for ranks in [2, 4] {
      expectSame(
        one, try rig.run(ranks: ranks, sequenceParallel: true, ep: ranks), "ep \(ranks)")
    }
  }

  @Test("a frozen tower is shared by whole slices", arguments: [false, true])
  func shared(alignerTrains: Bool) throws {
    for dtype in [DType.float32, .bfloat16] {
      var rig = rig()
      rig.dtype = dtype
      rig.frozen = { Self.isTower($0) && !(alignerTrains && Self.isAligner($0)) }
      let one = try rig.run()
      for tp in [2, 4] {
        for split in [false, true] {
          expectSame(one, try rig.run(ranks: tp, sequenceParallel: split), "tp \(tp) sp \(split)")
        }
      }
    }
  }

  @Test("more ranks than pictures, and rows without any") func fewPictures() throws {
    for pictures in [[[PatchGrid(t: 1, h: 2, w: 2)], [], []], [[], [], []]] {
      for frozen in [false, true] {
        var rig = rig()
        rig.pictures = pictures
        rig.frozen = { frozen && Self.isTower($0) }
        let one = try rig.run()
        expectSame(
          one, try rig.run(ranks: 4, sequenceParallel: true), "\(pictures.joined().count)")
      }
    }
  }

  @Test("recomputing layers and tower changes no bit") func recompute() throws {
    var rig = rig(experts: 4)
    let one = try rig.run()
    for plan in [
      RecomputePlan(method: .uniform(layers: 1), modules: [.vision]),
      RecomputePlan(method: .uniform(layers: 3)), RecomputePlan(method: .block(layers: 2)),
      RecomputePlan(modules: [.vision, .layerNorm, .moe]),
    ] {
      rig.plan = plan
      let other = try rig.run()
      expectSame(one, other, "\(plan)")
      #expect(other.savedBytes < one.savedBytes)
      expectSame(one, try rig.run(ranks: 2, sequenceParallel: true, ep: 2), "\(plan) tp 2")
    }
  }

  @Test("a frozen tower keeps nothing for the backward pass") func keepsNothing() throws {
    let engine = try Engine()
    let config = try VisionRig.config()
    let model = try QwenModel(
      config, layout: ModelLayout(), dtype: .float32, router: nil, on: engine)
    try model.initialize(seed: 1)
    let vision = try #require(model.vision)
    let input = try #require(try VisionRig.input(Self.grids[0], vision.config, on: engine))
    func kept(_ trains: (String) -> Bool) throws -> Int {
      for parameter in vision.parameters { parameter.isTrainable = trains(parameter.name) }
      let tape = Tape()
      let alone = SelfWorld()
      let setting = Setting(
        engine: engine, groups: ModelGroups(tp: alone, ep: alone, etp: alone),
        sequenceParallel: false,
        layout: try SequenceLayout(starts: [0, 1], realTokens: 1, on: engine))
      _ = try vision(input, in: Context(tape: tape, setting: setting))
      return tape.operationCount
    }
    #expect(try kept { _ in false } == 0)
    // Norm, product, GELU, product of the three mergers; one joins its patches after the norm.
    #expect(try kept(Self.isAligner) == 13)
  }

  @Test("the text model can be frozen beside a trained tower") func frozenText() throws {
    var rig = rig()
    let all = try rig.run()
    rig.frozen = { !Self.isTower($0) }
    let tower = try rig.run(ranks: 2, sequenceParallel: true)
    for (name, values) in all.gradients where Self.isTower(name) {
      #expect(tower.gradients[name] == values, "\(name)")
    }
  }

  @Test("a row with placeholders and no picture is refused") func missingPicture() throws {
    let engine = try Engine()
    let config = try VisionRig.config()
    let model = try QwenModel(
      config, layout: ModelLayout(), dtype: .float32, router: nil, on: engine)
    try model.initialize(seed: 1)
    let alone = SelfWorld()
    let layout = try SequenceLayout(starts: [0, 2], realTokens: 2, on: engine)
    let setting = Setting(
      engine: engine, groups: ModelGroups(tp: alone, ep: alone, etp: alone),
      sequenceParallel: false, layout: layout)
    let input = TextInput(
      ids: try Tensor([Int32(1), 508], on: engine), positions: [0, 1],
      labels: .init(shifted: [508, -100], weights: nil))
    let fault = #expect(throws: Fault.self) {
      _ = try model.loss(
        input, plan: RecomputePlan(), in: Context(tape: Tape(), setting: setting))
    }
    #expect(fault?.code == .visionMismatch)
  }
}
