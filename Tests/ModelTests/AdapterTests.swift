@testable import Model
import Parallel
import Support
import Tensor
import Testing

/// Adapters of every kind on tiny models, in process.
@Suite(.serialized) struct AdapterTests {
  private func rig(
    experts: Int = 0, layers: Int = 2, form: AdapterChoice.Form = .fused, dropout: Double = 0,
    dtype: DType = .float32, targets: [String] = ["all-linear", "all-router"]
  ) throws -> LayoutRig {
    var rig = LayoutRig(layers: layers, experts: experts)
    rig.dtype = dtype
    var choice = AdapterChoice()
    choice.form = form
    choice.rank = 3
    choice.alpha = 5
    choice.stabilized = true
    choice.dropout = dropout
    choice.targets = experts > 0 ? targets : targets.filter { $0 != "all-router" }
    rig.adapters = try choice.plan(for: NameMap(try rig.config()))
    return rig
  }

  @Test(
    "dense: tp and sequence parallelism give the bits of one rank",
    arguments: [
      (AdapterChoice.Form.fused, 0.0, DType.float32), (.published, 0.3, .float32),
      (.published, 0, .bfloat16), (.fused, 0.3, .bfloat16),
    ])
  func dense(form: AdapterChoice.Form, dropout: Double, dtype: DType) throws {
    var rig = try rig(form: form, dropout: dropout, dtype: dtype)
    rig.tokens = [7, 9]
    let one = try rig.run()
    #expect(one.gradients.count == 2 * 4 * 2)
    for tp in [2, 4] {
      for sequenceParallel in [false, true] {
        expectSame(
          one, try rig.run(ranks: tp, sequenceParallel: sequenceParallel),
          "tp \(tp) sp \(sequenceParallel)")
      }
    }
  }

  @Test(
    "experts and routers: ep and etp give the bits of one rank",
    arguments: [(AdapterChoice.Form.fused, 0.0), (.published, 0.25)])
  func experts(form: AdapterChoice.Form, dropout: Double) throws {
    for dtype in [DType.float32, .bfloat16] {
      var rig = try rig(experts: 4, layers: 3, form: form, dropout: dropout, dtype: dtype)
      rig.adjust = { $0.auxLossCoefficient = 0.01 }
      let one = try rig.run()
      for (ranks, ep) in [(2, 2), (2, 1), (4, 2), (4, 4)] {
        expectSame(
          one, try rig.run(ranks: ranks, sequenceParallel: true, ep: ep, etp: ranks / ep),
          "\(dtype) tp \(ranks) ep \(ep)")
      }
    }
  }

  @Test("recomputation of any kind changes no bit, dropout included") func recompute() throws {
    for experts in [0, 4] {
      var rig = try rig(experts: experts, layers: 3, dropout: 0.3)
      let one = try rig.run()
      for plan in [
        RecomputePlan(method: .uniform(layers: 1)), RecomputePlan(method: .block(layers: 2)),
        RecomputePlan(modules: [.layerNorm, .expertActivation]),
        RecomputePlan(modules: [.mlp, .moe]),
      ] {
        rig.plan = plan
        expectSame(one, try rig.run(), "\(plan)")
      }
    }
  }

  @Test("gradients are those of the weights with the adapters merged in", arguments: [0, 4])
  func gradients(experts: Int) throws {
    for form in [AdapterChoice.Form.fused, .published] {
      let rig = try rig(experts: experts, layers: 2, form: form)
      let plan = try #require(rig.adapters)
      let adapted = try rig.run()
      var merged = rig
      merged.adapters = nil
      merged.merges = (plan, rig.values(of:))
      let full = try merged.run()
      for (x, y) in zip(adapted.loss, full.loss) { #expect(abs(x - y) <= 2e-5 * max(1, abs(y))) }
      for (weight, site) in plan.sites {
        let names = AdapterNames(weight: weight)
        let dw = try #require(full.gradients[weight])
        let (a, b) = (rig.values(of: names.a), rig.values(of: names.b))
        let product = MergedProduct(site: site, a: a, b: b, gradient: dw)
        expectNear(try #require(adapted.gradients[names.a]), product.dA, names.a)
        expectNear(try #require(adapted.gradients[names.b]), product.dB, names.b)
      }
    }
  }

  /// With pictures, and every part of the model adapted.
  private func visionRig(
    experts: Int = 0, form: AdapterChoice.Form = .fused, dropout: Double = 0,
    dtype: DType = .float32, targets: [String] = ["all-linear", "patch_embed.proj"]
  ) throws -> LayoutRig {
    var rig = LayoutRig(experts: experts)
    rig.pictures = [
      [PatchGrid(t: 1, h: 4, w: 2), PatchGrid(t: 2, h: 2, w: 4)], [],
      [PatchGrid(t: 1, h: 2, w: 2), PatchGrid(t: 1, h: 6, w: 4)],
    ]
    rig.tokens = [13, 6, 11]
    rig.denseLayers = []
    rig.vocabulary = 500
    rig.dtype = dtype
    var choice = AdapterChoice()
    choice.form = form
    choice.rank = 3
    choice.alpha = 5
    choice.dropout = dropout
    choice.targets = targets
    rig.adapters = try choice.plan(for: NameMap(try rig.config()))
    return rig
  }

  @Test(
    "a tower with adapters runs whole on every rank: tp 2 and 4 give the bits of one rank",
    arguments: [
      (AdapterChoice.Form.fused, 0, 0.0, DType.float32), (.published, 0, 0.3, .bfloat16),
      (.fused, 4, 0.2, .float32),
    ])
  func tower(form: AdapterChoice.Form, experts: Int, dropout: Double, dtype: DType) throws {
    var rig = try visionRig(experts: experts, form: form, dropout: dropout, dtype: dtype)
    let one = try rig.run()
    let tower = one.gradients.filter { $0.key.hasPrefix(QwenVision.prefix) }
    // The product of the patches, 3 blocks of four, 3 mergers of two; two halves each.
    #expect(tower.count == 2 * (1 + 3 * 4 + 3 * 2))
    #expect(tower.values.allSatisfy { $0.contains { $0 != 0 } })
    for tp in [2, 4] {
      for split in experts > 0 ? [true] : [false, true] {
        expectSame(
          one, try rig.run(ranks: tp, sequenceParallel: split, ep: experts > 0 ? tp : 1),
          "tp \(tp) sp \(split)")
      }
    }
    rig.plan = RecomputePlan(method: .uniform(layers: 2), modules: [.vision])
    expectSame(one, try rig.run(), "recomputed")
  }

  @Test("adapters of the aligner alone leave the tower shared") func aligner() throws {
    let rig = try visionRig(targets: ["merger.linear_fc1", "0.linear_fc2", "linear_proj"])
    let one = try rig.run()
    #expect(
      Set(one.gradients.keys.filter { $0.hasPrefix(QwenVision.prefix) })
        == Set(
          ["merger.linear_fc1", "deepstack_merger_list.0.linear_fc2"].flatMap {
            let names = AdapterNames(weight: QwenVision.prefix + $0 + ".weight")
            return [names.a, names.b]
          }))
    expectSame(one, try rig.run(ranks: 2, sequenceParallel: true), "tp 2")
  }

  @Test(
    "adapters of embedding and output layer: tp gives the bits of one rank",
    arguments: [(0.0, DType.float32, true), (0.3, .bfloat16, true), (0, .float32, false)])
  func tables(dropout: Double, dtype: DType, hasOutput: Bool) throws {
    var rig = try rig(
      form: .published, dropout: dropout, dtype: dtype,
      targets: ["all-embedding", "q_proj"] + (hasOutput ? ["lm_head"] : []))
    rig.tokens = [7, 9]
    let one = try rig.run()
    #expect(one.gradients.count == 2 * (1 + 2 + (hasOutput ? 1 : 0)))
    for tp in [2, 4] {
      for split in [false, true] {
        expectSame(one, try rig.run(ranks: tp, sequenceParallel: split), "tp \(tp) sp \(split)")
      }
    }
  }

  @Test("gradients of embedding and output layer are those of the merged tables")
  func tableGradients() throws {
    let rig = try rig(targets: ["all-embedding", "output_layer"])
    let plan = try #require(rig.adapters)
    let adapted = try rig.run()
    var merged = rig
    merged.adapters = nil
    merged.merges = (plan, rig.values(of:))
    let full = try merged.run()
    for (x, y) in zip(adapted.loss, full.loss) { #expect(abs(x - y) <= 2e-5 * max(1, abs(y))) }
    for (weight, site) in plan.sites {
      let names = AdapterNames(weight: weight)
      var dw = try #require(full.gradients[weight])
      if site.isTable {
        // The adapter makes the transpose.
        let (h, v) = (site.blocks[0].rows[0].count, dw.count / site.blocks[0].rows[0].count)
        dw = (0..<h * v).map { dw[$0 % v * h + $0 / v] }
      }
      let product = MergedProduct(
        site: site, a: rig.values(of: names.a), b: rig.values(of: names.b), gradient: dw)
      expectNear(try #require(adapted.gradients[names.a]), product.dA, names.a)
      expectNear(try #require(adapted.gradients[names.b]), product.dB, names.b)
    }
  }

  @Test("gradients in the tower are those of the weights with the adapters merged in")
  func towerGradients() throws {
    let rig = try visionRig()
    let plan = try #require(rig.adapters)
    let adapted = try rig.run()
    var merged = rig
    merged.adapters = nil
    merged.merges = (plan, rig.values(of:))
    let full = try merged.run()
    for (weight, site) in plan.sites where weight.hasPrefix(QwenVision.prefix) {
      let names = AdapterNames(weight: weight)
      let product = MergedProduct(
        site: site, a: rig.values(of: names.a), b: rig.values(of: names.b),
        gradient: try #require(full.gradients[weight]))
      expectNear(try #require(adapted.gradients[names.a]), product.dA, names.a)
      expectNear(try #require(adapted.gradients[names.b]), product.dB, names.b)
    }
  }

  private func expectNear(_ x: [Float], _ y: [Float], _ name: String) {
    #expect(x.count == y.count)
    let largest = y.reduce(Float(1e-4)) { max($0, abs($1)) }
    let worst = zip(x, y).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) }
    #expect(worst <= 2e-4 * largest, "\(name) differs by \(worst) of \(largest)")
  }

  @Test("with B zero the output is the base's, bit for bit") func beginsAsBase() throws {
    for experts in [0, 4] {
      var rig = try rig(experts: experts, dropout: 0.3)
      rig.beginsAtZero = true
      let adapted = try rig.run()
      rig.adapters = nil
      #expect(adapted.loss == (try rig.run()).loss)
    }
  }

  @Test("a frozen base keeps less for the backward pass") func keepsLess() throws {
    var rig = try rig(targets: ["linear_qkv"])
    let adapted = try rig.savedBytes()
    rig.adapters = nil
    let full = try rig.savedBytes()
    #expect(adapted < full * 9 / 10, "\(adapted) of \(full)")
  }

  @Test("a target that is no linear map is refused with the names there are") func unknownTarget()
    throws
  {
    let map = NameMap(try LayoutRig().config())
    for (form, word) in [(AdapterChoice.Form.fused, "q_proj"), (.published, "linear_qkv")] {
      var choice = AdapterChoice()
      choice.form = form
      choice.targets = [word]
      let fault = #expect(throws: Fault.self) { try choice.plan(for: map) }
      #expect(fault?.code == .badAdapterTarget)
      #expect(fault?.expected?.contains("all-linear") ?? false)
    }
  }

  @Test("targets by name, pattern and group choose their modules") func targets() throws {
    let config = try LayoutRig(layers: 3, experts: 4).config()
    func sites(_ adjust: (inout AdapterChoice) -> Void) throws -> Set<String> {
      var choice = AdapterChoice()
      adjust(&choice)
      return Set(try choice.plan(for: NameMap(config)).sites.keys)
    }
    let router = try sites { $0.targets = ["all-router"] }
    #expect(
      router == ["decoder.layers.0.mlp.router.weight", "decoder.layers.2.mlp.router.weight"])
    let pattern = try sites { $0.pattern = #"decoder\.layers\.0\..*(proj|experts\.linear_fc1)"# }
    #expect(
      pattern
        == Set(
          ["self_attention.linear_proj"] + (0..<4).map { "mlp.experts.\($0).linear_fc1" }
        ).mapped { "decoder.layers.0.\($0).weight" })
    let named = try sites {
      $0.form = .published
      $0.targets = ["v_proj"]
    }
    #expect(named == Set((0..<3).map { "decoder.layers.\($0).self_attention.linear_qkv.weight" }))
    let all = try sites { _ in }
    #expect(!all.contains { $0.contains("router") || $0.contains("output_layer") })
  }
}

extension Set<String> {
  fileprivate func mapped(_ change: (String) -> String) -> Set<String> { Set(map(change)) }
}

/// What the chain rule says of the halves when the gradient of w + s·B·A is known.
private struct MergedProduct {
  private(set) var dA: [Float]
  private(set) var dB: [Float]

  init(site: AdapterPlan.Site, a: [Float], b: [Float], gradient: [Float]) {
    let inputs = a.count / site.width
    dA = [Float](repeating: 0, count: a.count)
    dB = [Float](repeating: 0, count: b.count)
    var first = 0
    for block in site.blocks {
      for row in block.rows.joined() {
        for j in 0..<block.rank {
          var sum = 0.0
          for i in 0..<inputs {
            let dw = Double(gradient[row * inputs + i]) * block.scale
            sum += dw * Double(a[(first + j) * inputs + i])
            dA[(first + j) * inputs + i] += Float(dw) * b[row * site.rank + j]
          }
          dB[row * site.rank + j] = Float(sum)
        }
      }
      first += block.rank
    }
  }
}
