import Checkpoint
import Foundation
import Model
import Support
import Tensor
import Testing

@testable import Launcher

/// Adapters in files: what is written is read as it was, and merged as it computes.
@Suite("Adapters in files") struct AdapterFileTests {
  private struct Case {
    let config: QwenConfig
    let map: NameMap
    let plan: AdapterPlan
    let values: [String: [Float]]

    /// - Parameter change: choices besides rank 3.
    init(_ rig: TrainingRig, _ change: (inout AdapterChoice) -> Void) throws {
      config = try QwenConfig(folder: rig.model)
      map = NameMap(config)
      var choice = AdapterChoice()
      choice.rank = 3
      choice.alpha = 6
      choice.targets = config.experts == nil ? ["all-linear"] : ["all-linear", "all-router"]
      change(&choice)
      plan = try choice.plan(for: map)
      var values: [String: [Float]] = [:]
      for (name, shape) in plan.tensors(map) {
        let random = CounterRandom(seed: 11, purpose: name)
        values[name] = (0..<shape.reduce(1, *)).map { Float(random.normal($0)) }
      }
      self.values = values
    }

    func value(of source: any WeightSource, _ name: String) throws -> [Float] {
      let (_, shape) = try source.describe(name)
      var out = [Float](repeating: .nan, count: shape.reduce(1, *))
      let width = shape.dropFirst().reduce(1, *)
      try out.withUnsafeMutableBytes {
        try source.read(name, rows: 0..<shape[0], columns: 0..<width, into: $0)
      }
      return out
    }
  }

  @Test(
    "a PEFT folder gives back what was written to it",
    arguments: [
      (TinyModel.Kind.dense, AdapterChoice.Form.fused, false), (.dense, .published, true),
      (.moe, .fused, false), (.moe, .fused, true), (.moe, .published, false),
    ])
  func roundTrip(kind: TinyModel.Kind, form: AdapterChoice.Form, stabilized: Bool) throws {
    let rig = try TrainingRig(kind)
    let own = try Case(rig) {
      $0.form = form
      $0.stabilized = stabilized
      $0.modulesToSave = ["embed_tokens"]
    }
    let folder = rig.folder.path + "/adapter"
    try AdapterExport(map: own.map, plan: own.plan, baseModel: "base").write(
      own.values, to: folder)
    let read = try PublishedAdapter(
      try AdapterFolder(folder), own.map, sharesA: form == .fused)
    #expect(read.plan.sites.keys.sorted() == own.plan.sites.keys.sorted())
    for (weight, site) in own.plan.sites {
      for (a, b) in zip(read.plan.sites[weight]?.blocks ?? [], site.blocks) {
        #expect(a.rows == b.rows && a.rank == b.rank && abs(a.scale - b.scale) < 1e-12)
      }
    }
    for (name, values) in own.values {
      #expect(try own.value(of: read, name) == values, "\(name)")
    }
  }

  @Test("adapters of embedding and output layer: peft's names, merged as they compute")
  func tables() throws {
    let rig = try TrainingRig(.moe)
    let own = try Case(rig) { $0.targets = ["all-embedding", "output_layer"] }
    let folder = rig.folder.path + "/adapter"
    try AdapterExport(map: own.map, plan: own.plan, baseModel: "base").write(
      own.values, to: folder)
    let stored = try AdapterFolder(folder)
    #expect(stored.modules.map(\.path) == ["model.embed_tokens", "lm_head"])
    #expect(stored.modules[0].a.name == "base_model.model.model.embed_tokens.lora_embedding_A")
    let read = try PublishedAdapter(stored, own.map, sharesA: true)
    #expect(read.plan.sites == own.plan.sites)
    for (name, values) in own.values { #expect(try own.value(of: read, name) == values) }
    let base = PublishedWeightSource(try PublishedFolder(rig.model), own.map)
    let merged = MergedWeights(
      base: base, adapter: read, plan: read.plan, engine: try Engine())
    let table = "embedding.word_embeddings.weight"
    let (dtype, shape) = try base.describe(table)
    func tensor(_ source: any WeightSource) throws -> [Float] {
      let tensor = try Tensor(shape, dtype, on: try Engine())
      try source.read(table, rows: 0..<shape[0], columns: 0..<shape[1], into: tensor.bytes)
      return tensor.values
    }
    let names = AdapterNames(weight: table)
    let (a, b) = (own.values[names.a] ?? [], own.values[names.b] ?? [])
    let (old, new) = (try tensor(base), try tensor(merged))
    for (i, value) in new.enumerated() {
      let (token, element) = (i / shape[1], i % shape[1])
      let sum = (0..<3).reduce(Float(0)) { $0 + b[element * 3 + $1] * a[$1 * shape[0] + token] }
      let expected = old[i] + 2 * sum
      #expect(abs(value - expected) <= 0x1p-7 * max(1, abs(expected)))
    }
  }

  @Test("a PEFT folder of a tower: convolution, mergers trained whole, biases in their places")
  func tower() throws {
    let rig = try TrainingRig(.vl)
    let own = try Case(rig) {
      $0.targets = ["all-linear", "patch_embed.proj"]
      $0.modulesToSave = ["visual.merger", "lm_head"]
      $0.trainsBiases = true
    }
    #expect(own.plan.sites["visual.visual.merger.linear_fc1.weight"] == nil)
    let folder = rig.folder.path + "/adapter"
    try AdapterExport(map: own.map, plan: own.plan, baseModel: "base").write(
      own.values, to: folder)
    let stored = try AdapterFolder(folder)
    let proj = try #require(
      stored.modules.first { $0.path == "model.visual.patch_embed.proj" })
    #expect(proj.a.shape.count == 5 && proj.b.shape.suffix(3) == [1, 1, 1])
    #expect(stored.config.json["bias"]?.string == "all")
    let whole = stored.config.json["modules_to_save"]?.array?.compactMap(\.string) ?? []
    #expect(whole.contains("lm_head") && whole.contains("merger.linear_fc1"))
    // The ends that peft looks for mean these modules and no others.
    let saved = Set(own.plan.savedWeights.compactMap { own.map[$0]?.pieces[0].published })
    for (name, _) in own.map.published where name.hasSuffix(".weight") {
      let isNamed = whole.contains { name.dropLast(".weight".count).hasSuffix($0) }
      #expect(isNamed == (saved.contains(name) || name == "lm_head.weight"), "\(name)")
    }
    let targets = stored.config.json["target_modules"]?.array?.compactMap(\.string) ?? []
    for module in own.map.all.compactMap({ AdaptableLinear($0) }).flatMap({
      $0.modules(.published)
    }) {
      let isTarget = targets.contains { module.name == $0 || module.name.hasSuffix("." + $0) }
      #expect(isTarget == stored.modules.contains { $0.path == module.name }, "\(module.name)")
    }
    let read = try PublishedAdapter(stored, own.map, sharesA: true)
    #expect(read.plan.trainsBiases && read.plan.savedWeights == own.plan.savedWeights)
    for (name, values) in own.values {
      #expect(try own.value(of: read, name) == values, "\(name)")
    }
  }

  @Test("merged weights are base + s·B·A to the rounding of one addition") func merge() throws {
    let rig = try TrainingRig(.moe)
    let own = try Case(rig) { $0.form = .published }
    let folder = rig.folder.path + "/adapter"
    try AdapterExport(map: own.map, plan: own.plan, baseModel: rig.model).write(
      own.values, to: folder)
    let base = PublishedWeightSource(try PublishedFolder(rig.model), own.map)
    let adapter = try PublishedAdapter(try AdapterFolder(folder), own.map)
    let engine = try Engine()
    let merged = MergedWeights(base: base, adapter: adapter, plan: adapter.plan, engine: engine)
    for (weight, site) in own.plan.sites {
      let (dtype, shape) = try base.describe(weight)
      func tensor(_ source: any WeightSource) throws -> [Float] {
        let tensor = try Tensor(shape, dtype, on: engine)
        try source.read(weight, rows: 0..<shape[0], columns: 0..<shape[1], into: tensor.bytes)
        return tensor.values
      }
      let names = AdapterNames(weight: weight)
      let (a, b) = (own.values[names.a] ?? [], own.values[names.b] ?? [])
      let (old, new) = (try tensor(base), try tensor(merged))
      var expected = old.map(Double.init)
      var first = 0
      for block in site.blocks {
        for row in block.rows.joined() {
          for i in 0..<shape[1] {
            for j in 0..<block.rank {
              expected[row * shape[1] + i] +=
                block.scale * Double(b[row * site.rank + j])
                * Double(a[(first + j) * shape[1] + i])
            }
          }
        }
        first += block.rank
      }
      let step = dtype == .float32 ? 0x1p-22 : 0x1p-8
      for (x, y) in zip(new, expected) { #expect(abs(Double(x) - y) <= step * max(1, abs(y))) }
    }
  }

  @Test("an adapter of another model is refused with both shapes") func misfit() throws {
    let rig = try TrainingRig()
    let own = try Case(rig) { _ in }
    let folder = rig.folder.path + "/adapter"
    try AdapterExport(map: own.map, plan: own.plan, baseModel: "base").write(
      own.values, to: folder)
    var config = own.config
    config.hiddenSize *= 2
    let fault = #expect(throws: Fault.self) {
      try PublishedAdapter(try AdapterFolder(folder), NameMap(config))
    }
    #expect(fault?.code == .badAdapter)
    #expect(fault?.found?.contains("A [") ?? false)
  }

  @Test("adapters that compute something else are refused", arguments: ["use_dora", "lora_bias"])
  func otherKinds(key: String) throws {
    let folder = try TemporaryFolder()
    try folder.write("adapter_config.json", #"{"peft_type": "LORA", "r": 4, "\#(key)": true}"#)
    let fault = #expect(throws: Fault.self) { try AdapterConfig(folder: folder.path) }
    #expect(fault?.code == .badAdapter && fault?.message.contains(key) == true)
  }

  @Test("scales follow patterns of rank and alpha, and the root") func scales() throws {
    let folder = try TemporaryFolder()
    try folder.write(
      "adapter_config.json",
      """
      {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": true,
       "alpha_pattern": {"layers.1.self_attn.q_proj": 32, "o_proj": 2}}
      """)
    let config = try AdapterConfig(folder: folder.path)
    #expect(config.scale(module: "model.layers.0.self_attn.q_proj", rank: 4) == 4)
    #expect(config.scale(module: "model.layers.1.self_attn.q_proj", rank: 16) == 8)
    #expect(config.scale(module: "model.layers.11.self_attn.o_proj", rank: 1) == 2)
    #expect(config.scale(module: "model.layers.1.self_attn.foo_proj", rank: 4) == 4)
  }
}
