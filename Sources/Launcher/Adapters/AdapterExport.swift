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
      let own = row.modules.filter { block.published == nil || $0.published == block.published }
      result += own.map { module in
        PublishedModule(
          path: module.name,
          sources: [
            .init(
              weight: row.name, first: first, rows: module.rows, rank: block.rank,
              scale: block.scale)
          ])
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
      LayerName($0)?.expert == nil && $0.contains(".mlp.linear_fc")
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
      tensors.append((prefix + ".lora_A.weight", stored.a.shape, stored.a.values))
      tensors.append((prefix + ".lora_B.weight", stored.b.shape, stored.b.values))
    }
    let saved = map.published(values.filter { plan.savedWeights.contains($0.key) })
    for (name, shape) in map.published {
      guard let value = saved[name] else { continue }
      tensors.append(("base_model.model." + name, shape, value))
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
}

extension AdapterExport {
  /// `adapter_config.json`: what peft needs to build the same adapter.
  private func config(_ modules: [PublishedModule], saved: [String]) -> JSONObject {
    let ranks = modules.map { $0.sources[0].rank }
    let alphas = modules.map { originalAlpha($0.sources[0]) }
    let (rank, alpha) = (common(ranks) ?? 8, common(alphas) ?? 32)
    var rankPattern = JSONObject()
    var alphaPattern = JSONObject()
    for (module, (r, a)) in zip(modules, zip(ranks, alphas)) {
      if r != rank { rankPattern[module.path] = JSONValue(r) }
      if a != alpha { alphaPattern[module.path] = number(a) }
    }
    let parameters = modules.filter { isParameter($0) }.map(\.path)
    var root = JSONObject()
    root["peft_type"] = .string("LORA")
    root["task_type"] = .string("CAUSAL_LM")
    root["base_model_name_or_path"] = .string(baseModel)
    root["r"] = JSONValue(rank)
    root["lora_alpha"] = number(alpha)
    root["lora_dropout"] = JSONValue(plan.dropout)
    root["bias"] = .string("none")
    root["target_modules"] = strings(targets(modules.filter { !isParameter($0) }.map(\.path)))
    root["target_parameters"] = parameters.isEmpty ? .null : strings(parameterTargets(parameters))
    root["modules_to_save"] = saved.isEmpty ? .null : strings(savedModules(saved))
    root["use_rslora"] = .bool(plan.stabilized)
    root["use_dora"] = .bool(false)
    root["fan_in_fan_out"] = .bool(false)
    root["init_lora_weights"] = .bool(true)
    root["inference_mode"] = .bool(true)
    root["rank_pattern"] = .object(rankPattern)
    root["alpha_pattern"] = .object(alphaPattern)
    return root
  }

  private func originalAlpha(_ source: PublishedModule.Source) -> Double {
    let r = Double(source.rank)
    let alpha = source.scale * (plan.stabilized ? r.squareRoot() : r)
    // What was divided by the root comes back whole.
    return abs(alpha - alpha.rounded()) < 1e-9 * max(1, abs(alpha)) ? alpha.rounded() : alpha
  }

  private func number(_ value: Double) -> JSONValue {
    Int(exactly: value).map { JSONValue($0) } ?? JSONValue(value)
  }

  private func strings(_ values: [String]) -> JSONValue { .array(values.map { .string($0) }) }

  private func common<T: Hashable>(_ values: [T]) -> T? {
    Dictionary(grouping: values, by: \.self).max { $0.value.count < $1.value.count }?.key
  }

  /// Adapted as a parameter and not as a linear module: fused experts, and routers.
  private func isParameter(_ module: PublishedModule) -> Bool {
    module.sources[0].expert != nil || module.sources[0].weight.hasSuffix(".router.weight")
  }

  /// Last names of modules when every linear map of that name is adapted, else whole paths.
  private func targets(_ paths: [String]) -> [String] {
    func leaf(_ path: String) -> String { String(path.split(separator: ".").last ?? "") }
    var all: [String: Int] = [:]
    for row in map.all {
      for module in AdaptableLinear(row)?.modules(.published) ?? [] {
        all[leaf(module.name), default: 0] += 1
      }
    }
    let adapted = Dictionary(grouping: paths, by: leaf)
    if adapted.allSatisfy({ all[$0.key] == $0.value.count }) { return adapted.keys.sorted() }
    return paths
  }

  private func parameterTargets(_ paths: [String]) -> [String] {
    var result: Set<String> = []
    for path in paths {
      if path.hasSuffix(".mlp.gate") {
        result.insert("mlp.gate.weight")
      } else {
        let isInner = path.hasSuffix(".base_layer")
        let adaptsFirst =
          isInner
          || modules().contains { $0.path == path && $0.sources[0].weight.contains("linear_fc1") }
        result.insert(adaptsFirst ? "mlp.experts.gate_up_proj" : "mlp.experts.down_proj")
      }
    }
    return result.sorted()
  }

  /// Modules of the weights that are stored whole, by the end of their path.
  private func savedModules(_ weights: [String]) -> [String] {
    var names: [String] = []
    for weight in weights {
      let parts = weight.split(separator: ".").dropLast()
      let name = String(parts.last ?? "")
      if !names.contains(name) { names.append(name) }
    }
    if map.config.tiesEmbeddings, names.contains("embed_tokens"), !names.contains("lm_head") {
      names.append("lm_head")
    }
    return names
  }
}
