import Support

/// Typed access to the members of a `config.json`, with errors that name the key.
struct ConfigKeys {
  let root: JSONValue
  let path: String
  /// Key of the object that `root` is, for messages; nil for the whole file.
  var section: String?

  private func full(_ key: String) -> String { section.map { "\($0).\(key)" } ?? key }

  private func wrong(_ key: String, _ expected: String, _ value: JSONValue) -> Fault {
    Fault(
      .badModelConfig, "\(full(key)) must be \(expected)", at: .file(path), expected: expected,
      found: value.kind)
  }

  func string(_ key: String) throws(Fault) -> String {
    guard let value = root[key], !value.isNull else {
      throw Fault(.badModelConfig, "\(full(key)) is missing", at: .file(path))
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

  func ints(_ key: String, default fallback: [Int]) throws(Fault) -> [Int] {
    guard let value = root[key], !value.isNull else { return fallback }
    guard let numbers = value.array?.map(\.int), !numbers.contains(nil) else {
      throw wrong(key, "a list of whole numbers", value)
    }
    return numbers.compactMap { $0 }
  }

  /// An id of the vocabulary.
  func id(_ key: String, default fallback: Int32) throws(Fault) -> Int32 {
    let number = try int(key, default: Int(fallback))
    guard let id = Int32(exactly: number), id >= 0 else {
      throw Fault(.badModelConfig, "\(full(key)) \(number) is no token id", at: .file(path))
    }
    return id
  }

  /// The object that describes the rotary embedding, in either spelling.
  var rope: JSONValue? {
    [root["rope_parameters"], root["rope_scaling"]].compactMap { $0 }.first { !$0.isNull }
  }

  /// - Parameter fallback: without a value in the file; nil makes its absence an error.
  func ropeTheta(default fallback: Double?) throws(Fault) -> Double {
    if let theta = rope?["rope_theta"]?.double { return theta }
    guard let fallback = fallback ?? root["rope_theta"]?.double else {
      throw Fault(.badModelConfig, "\(full("rope_theta")) is missing", at: .file(path))
    }
    return try double("rope_theta", default: fallback)
  }

  /// Frequencies of the time, height and width axes.
  func ropeSections(headSize: Int) throws(Fault) -> [Int] {
    guard let value = rope?["mrope_section"], !value.isNull else { return [24, 20, 20] }
    if rope?["mrope_interleaved"]?.bool == false {
      throw Fault(
        .unknownModel, "mrope_interleaved false is not implemented", at: .file(path),
        expected: "true")
    }
    let sections = value.array?.compactMap(\.int) ?? []
    guard sections.count == 3, sections.allSatisfy({ $0 >= 0 }),
      sections.reduce(0, +) == headSize / 2
    else {
      throw Fault(
        .badModelConfig, "mrope_section must be three numbers that add up to half of head_dim",
        at: .file(path), expected: "a sum of \(headSize / 2)", found: value.write(.python))
    }
    return sections
  }

  /// - Parameter vision: the defaults of the text part of a model with a vision tower, which
  ///   always normalises the weights of the chosen experts.
  func experts(vision: Bool = false) throws(Fault) -> QwenConfig.Experts {
    let key = root["num_experts"] != nil ? "num_experts" : "num_local_experts"
    let count = try int(key, default: vision ? 60 : 128)
    let layers = root["mlp_only_layers"]?.array ?? []
    return QwenConfig.Experts(
      count: count, topK: try int("num_experts_per_tok", default: vision ? 4 : 8),
      intermediateSize: try int("moe_intermediate_size", default: vision ? 1408 : 768),
      normalizesTopK: vision ? true : try bool("norm_topk_prob", default: false),
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
