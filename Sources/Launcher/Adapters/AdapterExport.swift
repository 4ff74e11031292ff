import Checkpoint
import Model
import Support
import Tensor

/// An adapter as a PEFT folder: every published projection with its own halves (a shared A is copied,
/// B cut by rows), so that it gives the same logits at the same rank.
struct AdapterExport {
  let map: NameMap
  let plan: AdapterPlan
  /// What the folder says it is an adapter of.
  let baseModel: String

  /// The modules of the folder, in the order of the model.
  func modules() -> [PublishedModule] {
    var result: [PublishedModule] = []
    var experts: [String: Int] = [:]
    let isFlat = hasFlatExperts
    for row in map.all {
      guard let site = plan.sites[row.name] else { continue }
      if isFlat, site.blocks.first?.published == nil, let flat = flatPath(row) {
        if experts[flat.path] == nil {
          experts[flat.path] = result.count
          result.append(PublishedModule(path: flat.path, sources: []))
        }
        let block = site.blocks[0]
        result[experts[flat.path] ?? 0].sources.append(
          .init(
            weight: row.name, first: 0, rows: block.rows, rank: block.rank, scale: block.scale,
            expert: flat.expert))
        continue
      }
      result += modules(of: row, site)
    }
    return result
  }

  private func modules(of row: NameMapRow, _ site: AdapterPlan.Site) -> [PublishedModule] {
    var first = 0
    var result: [PublishedModule] = []
    for block in site.blocks {
      defer { first += block.rank }
      let own = (AdaptableLinear(row)?.published ?? []).filter {
        block.published == nil || $0.published == block.published
      }
      result += own.map { module in
        PublishedModule(
          path: module.name,
          sources: [
            .init(
              weight: row.name, first: first, rows: module.rows, rank: block.rank,
              scale: block.scale)
          ], isTable: site.isTable, kernel: row.shape.count > 2 ? Array(row.shape.dropFirst()) : nil
        )
      }
    }
    return result
  }

  /// Whether the adapters of a layer's experts go into one tensor: where the published model has one, and
  /// where the usual reader of adapters would scale pairs per expert wrongly (rslora) or leave out the
  /// dense layers of a mixed model.
  private var hasFlatExperts: Bool {
    let names = map.all.lazy.filter { LayerName($0.name)?.expert != nil }.flatMap(\.pieces)
    guard let first = names.first else { return false }
    let isOneTensor = first.published.hasSuffix("gate_up_proj")
    let hasDense = plan.sites.keys.contains {
      LayerName($0).map { $0.expert == nil && $0.rest.hasPrefix("mlp.linear_fc") } ?? false
    }
    return isOneTensor || plan.stabilized || hasDense
  }

  private func flatPath(_ row: NameMapRow) -> (path: String, expert: FlatExpert)? {
    guard let layer = LayerName(row.name), let expert = layer.expert,
      let count = map.config.experts?.count, let published = row.pieces.first?.published,
      let end = published.range(of: ".mlp.experts")
    else { return nil }
    // The wrappers of the two tensors of a module nest: the inner one is the first tensor's.
    let isFirst = expert.rest.hasPrefix("linear_fc1")
    let other = row.name.replacing("linear_fc1.weight", with: "linear_fc2.weight")
    let nests = isFirst && plan.sites[other] != nil
    return (
      published[..<end.upperBound] + (nests ? ".base_layer" : ""),
      FlatExpert(index: expert.index, count: count, isTransposed: false)
    )
  }

  /// Writes the adapter of a source, which one rank reads whole.
  /// - Throws: `MODEL-103`, `FILE-003`.
  func write(from source: any WeightSource, engine: Engine, to folder: String) throws(Fault) {
    var values: [String: [Float]] = [:]
    for (name, _) in plan.tensors(map) {
      let (dtype, shape) = try source.describe(name)
      let tensor = try Tensor(shape, dtype, on: engine)
      let width = shape.dropFirst().reduce(1, *)
      try source.read(name, rows: 0..<(shape.first ?? 0), columns: 0..<width, into: tensor.bytes)
      try ElementCast(engine: engine).convert(
        UnsafeRawBufferPointer(tensor.bytes), dtype, .float32
      ) { (bytes) throws(Fault) in values[name] = Array(bytes.bindMemory(to: Float.self)) }
    }
    try write(values, to: folder)
  }

  /// Writes `adapter_model.safetensors` and `adapter_config.json`.
  /// - Parameter values: the whole of every half and of every weight trained whole.
  /// - Throws: `FILE-003`.
  func write(_ values: [String: [Float]], to folder: String) throws(Fault) {
    let modules = modules()
    var tensors: [(name: String, shape: [Int], values: [Float])] = []
    for module in modules {
      let stored = try module.stored(values, plan)
      let prefix = "base_model.model." + module.path
      let names = module.isTable ? ["embedding_A", "embedding_B"] : ["A.weight", "B.weight"]
      for (name, half) in zip(names, [stored.a, stored.b]) {
        tensors.append((prefix + ".lora_" + name, half.shape, half.values))
      }
    }
    let saved = map.published(values.filter { plan.savedWeights.contains($0.key) })
    let adapted = Set(modules.map(\.path))
    for (name, shape) in map.published {
      guard let value = saved[name] else { continue }
      tensors.append(("base_model.model." + stored(name, adapted), shape, value))
      if map.config.tiesEmbeddings, name.hasSuffix("embed_tokens.weight") {
        tensors.append(("base_model.model.lm_head.weight", shape, value))
      }
    }
    try Folder.make(folder)
    try FloatTensors.write(tensors, to: folder + "/" + AdapterFolder.weightsName)
    try AtomicFile.write(
      JSONValue.object(config(modules, saved: saved.keys.sorted())).write(.indented) + "\n",
      to: folder + "/" + AdapterConfig.fileName)
  }

  /// A bias that is trained in its place belongs to the map inside the adapter.
  private func stored(_ weight: String, _ adapted: Set<String>) -> String {
    guard plan.trainsBiases, weight.hasSuffix(".bias") else { return weight }
    let module = String(weight.dropLast(".bias".count))
    return adapted.contains(module) ? module + ".base_layer.bias" : weight
  }
}
