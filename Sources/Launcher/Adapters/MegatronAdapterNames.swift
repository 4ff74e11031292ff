import Model
import Support
import Tensor

/// Names of an adapter in Megatron's form, one key per layer with the experts stacked.
struct MegatronAdapterNames {
  let map: NameMap
  let plan: AdapterPlan

  /// `decoder.layers.0.mlp.experts.experts.linear_fc1.lora_A.default.weight` of all experts from one
  /// tensor per expert; weights trained whole under `….modules_to_save.default.weight`.
  func stacked(_ values: [String: [Float]]) -> [String: [Float]] {
    var result: [String: [Float]] = [:]
    for row in map.all {
      if plan.savedWeights.contains(row.name), let value = values[row.name] {
        result[Self.saved(row.name, plan)] = value
      }
      guard plan.sites[row.name] != nil else { continue }
      let names = AdapterNames(weight: row.name)
      for name in [names.a, names.b] {
        guard let value = values[name] else { continue }
        guard let layer = LayerName(name), let expert = layer.expert else {
          result[name] = value
          continue
        }
        let key = name.replacing(".mlp.experts.\(expert.index).", with: ".mlp.experts.experts.")
        result[key, default: []] += value
      }
    }
    return result
  }

  /// The key of a weight that is trained whole beside adapters. Biases that are trained in their
  /// places keep their names.
  static func saved(_ weight: String, _ plan: AdapterPlan) -> String {
    if plan.trainsBiases, weight.hasSuffix(".bias") { return weight }
    guard let dot = weight.lastIndex(of: ".") else { return weight }
    return weight[..<dot] + ".modules_to_save.default" + weight[dot...]
  }
}

extension QwenModel {
  /// Where a tensor of this model lies in a checkpoint: layers are stacked when all have it, experts
  /// always.
  func storedName(_ name: String) -> StoredName {
    guard let adapters, let layer = LayerName(name) else { return StoredName(name, config) }
    var rest = name
    for word in [".modules_to_save.default", ".lora_A.default", ".lora_B.default"] {
      rest = rest.replacing(word, with: "")
    }
    let isEverywhere = (0..<config.layerCount).allSatisfy {
      let weight = rest.replacing("decoder.layers.\(layer.index).", with: "decoder.layers.\($0).")
      return adapters.sites[weight] != nil || adapters.savedWeights.contains(weight)
    }
    return StoredName.candidates(name, config)[isEverywhere && config.isUniform ? 0 : 1]
  }
}
