import Model
import Support

extension AdapterExport {
  /// `adapter_config.json`: what peft needs to build the same adapter.
  func config(_ modules: [PublishedModule], saved: [String]) -> JSONObject {
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
    root["bias"] = .string(biases)
    root["target_modules"] = strings(targets(modules.filter { !isParameter($0) }.map(\.path)))
    root["target_parameters"] = parameters.isEmpty ? .null : strings(parameterTargets(parameters))
    let whole = savedModules(saved)
    root["modules_to_save"] = whole.isEmpty ? .null : strings(whole)
    root["use_rslora"] = .bool(plan.stabilized)
    root["use_dora"] = .bool(false)
    root["fan_in_fan_out"] = .bool(false)
    root["init_lora_weights"] = .bool(true)
    root["inference_mode"] = .bool(true)
    root["rank_pattern"] = .object(rankPattern)
    root["alpha_pattern"] = .object(alphaPattern)
    return root
  }

  /// Which biases are trained, as peft says it.
  private var biases: String {
    guard plan.trainsBiases else { return "none" }
    return map.biases.isSubset(of: plan.savedWeights) ? "all" : "lora_only"
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

  /// The shortest ends of names that mean the adapted maps and no others.
  private func targets(_ paths: [String]) -> [String] {
    var all: [String: Int] = [:]
    for row in map.all {
      for module in AdaptableLinear(row)?.modules(.published) ?? [] {
        for end in PathEnds(module.name) { all[end, default: 0] += 1 }
      }
    }
    var adapted: [String: Int] = [:]
    for path in paths { for end in PathEnds(path) { adapted[end, default: 0] += 1 } }
    let ends = paths.map { path in
      PathEnds(path).first { all[$0] == adapted[$0] } ?? path
    }
    return Set(ends).sorted()
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

  /// Modules of the weights that are stored whole, by ends of their paths that no other module has
  /// (peft compares them letter by letter). Biases trained in their places are not among them.
  private func savedModules(_ weights: [String]) -> [String] {
    func module(_ weight: String) -> String {
      weight.split(separator: ".").dropLast().joined(separator: ".")
    }
    let whole = weights.filter { !(plan.trainsBiases && $0.hasSuffix(".bias")) }
    let saved = Set(whole.map(module))
    let others = Set(map.published.map { module($0.name) }).subtracting(saved)
    var isOwn: [String: Bool] = [:]
    var names: Set<String> = []
    for path in saved {
      let end = PathEnds(path).first { end in
        if let known = isOwn[end] { return known }
        let result = !others.contains { $0.hasSuffix(end) }
        isOwn[end] = result
        return result
      }
      names.insert(end ?? path)
    }
    if map.config.tiesEmbeddings, names.contains("embed_tokens") { names.insert("lm_head") }
    return names.sorted()
  }
}

/// The ends of a dotted path, shortest first: `c`, `b.c`, `a.b.c`.
private struct PathEnds: Sequence, IteratorProtocol {
  private let parts: [Substring]
  private var count = 0

  init(_ path: String) { parts = path.split(separator: ".") }

  mutating func next() -> String? {
    guard count < parts.count else { return nil }
    count += 1
    return parts.suffix(count).joined(separator: ".")
  }
}
