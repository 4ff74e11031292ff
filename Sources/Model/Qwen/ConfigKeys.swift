import Support

/// Typed access to the members of a `config.json`, with errors that name the key.
struct ConfigKeys {
  let root: JSONValue
  let path: String

  private func wrong(_ key: String, _ expected: String, _ value: JSONValue) -> Fault {
    Fault(
      .badModelConfig, "\(key) must be \(expected)", at: .file(path), expected: expected,
      found: value.kind)
  }

  func string(_ key: String) throws(Fault) -> String {
    guard let value = root[key], !value.isNull else {
      throw Fault(.badModelConfig, "\(key) is missing", at: .file(path))
    }
    guard let text = value.string else { throw wrong(key, "a string", value) }
    return text
  }

  func int(_ key: String, default fallback: Int, null: Int? = nil) throws(Fault) -> Int {
    guard let value = root[key] else { return fallback }
    if value.isNull { return null ?? fallback }
    guard let number = value.int else { throw wrong(key, "a whole number", value) }
    return number
  }

  func double(_ key: String, default fallback: Double) throws(Fault) -> Double {
    guard let value = root[key], !value.isNull else { return fallback }
    guard let number = value.double else { throw wrong(key, "a number", value) }
    return number
  }

  func bool(_ key: String, default fallback: Bool) throws(Fault) -> Bool {
    guard let value = root[key], !value.isNull else { return fallback }
    guard let flag = value.bool else { throw wrong(key, "true or false", value) }
    return flag
  }

  func ropeTheta(default fallback: Double) throws(Fault) -> Double {
    let scaling = root["rope_parameters"]?.isNull == false ? root["rope_parameters"] : nil
    let old = root["rope_scaling"]?.isNull == false ? root["rope_scaling"] : nil
    if let kind = (scaling ?? old)?["rope_type"]?.string ?? (scaling ?? old)?["type"]?.string,
      kind != "default"
    {
      throw Fault(
        .unknownModel, "rope_type \"\(kind)\" is not implemented", at: .file(path),
        expected: "default")
    }
    if let theta = scaling?["rope_theta"]?.double { return theta }
    return try double("rope_theta", default: fallback)
  }

  func experts() throws(Fault) -> QwenConfig.Experts {
    let count =
      root["num_experts"] != nil
      ? try int("num_experts", default: 128) : try int("num_local_experts", default: 128)
    let layers = root["mlp_only_layers"]?.array ?? []
    return QwenConfig.Experts(
      count: count, topK: try int("num_experts_per_tok", default: 8),
      intermediateSize: try int("moe_intermediate_size", default: 768),
      normalizesTopK: try bool("norm_topk_prob", default: false),
      sparseStep: try int("decoder_sparse_step", default: 1),
      denseLayers: Set(layers.compactMap(\.int)))
  }

  /// Properties no published model of the family uses and this program does not compute.
  func refuseWhatChangesMathematics() throws(Fault) {
    func refuse(_ key: String, _ why: String) -> Fault {
      Fault(.unknownModel, "\(key): \(why)", at: .file(path))
    }
    if try bool("attention_bias", default: false) {
      throw refuse("attention_bias", "biases of the attention projections are not implemented")
    }
    if try bool("use_sliding_window", default: false) {
      throw refuse("use_sliding_window", "sliding-window attention is not implemented")
    }
    if try double("attention_dropout", default: 0) != 0 {
      throw refuse("attention_dropout", "dropout in attention is not implemented")
    }
    if let act = root["hidden_act"]?.string, act != "silu" {
      throw refuse("hidden_act", "\"\(act)\" is not implemented, only silu")
    }
    if let layers = root["layer_types"]?.array,
      layers.contains(where: { $0.string != "full_attention" })
    {
      throw refuse("layer_types", "only full_attention is implemented")
    }
    if let shared = root["shared_expert_intermediate_size"]?.int, shared > 0 {
      throw refuse("shared_expert_intermediate_size", "these models have no shared expert")
    }
  }
}
