import Foundation
import Model
import Support

/// What flags put in place of values of `config.json`.
///
/// They are written into the object of the file, so that they are checked like it and go into the
/// `config.json` beside every checkpoint.
struct ArchitectureOverrides {
  /// One given flag.
  struct Change {
    let flag: String
    let keys: [String]
    let value: JSONValue
    /// Another value means weights of another shape, or more or fewer of them.
    let changesWeights: Bool
    /// Only models with experts have it.
    var isOfExperts = false
    /// It belongs to the rotary settings.
    var isRotary = false
  }

  let changes: [Change]
  let rope: RopeOverride?

  init(
    _ flags: ArchitectureFlags = ArchitectureFlags(), paddedVocabulary: Int? = nil,
    initializerRange: Double? = nil, rope: RopeOverride? = nil
  ) {
    self.rope = rope
    var changes: [Change] = []
    func add(
      _ flag: String, _ value: JSONValue?, _ keys: [String], shapes: Bool = true,
      experts: Bool = false, rotary: Bool = false
    ) {
      guard let value else { return }
      changes.append(
        Change(
          flag: flag, keys: keys, value: value, changesWeights: shapes, isOfExperts: experts,
          isRotary: rotary))
    }
    func number(_ value: Int?) -> JSONValue? { value.map { JSONValue($0) } }
    add("num_layers", number(flags.numLayers), ["num_hidden_layers"])
    add("hidden_size", number(flags.hiddenSize), ["hidden_size"])
    add("ffn_hidden_size", number(flags.ffnHiddenSize), ["intermediate_size"])
    add("num_attention_heads", number(flags.numAttentionHeads), ["num_attention_heads"])
    add("num_query_groups", number(flags.numQueryGroups), ["num_key_value_heads"])
    add("kv_channels", number(flags.kvChannels), ["head_dim"])
    add("padded_vocab_size", number(paddedVocabulary), ["vocab_size"])
    add(
      "untie_embeddings_and_output_weights",
      flags.untieEmbeddingsAndOutputWeights.map { .bool(!$0) }, ["tie_word_embeddings"])
    add(
      "max_position_embeddings", number(flags.maxPositionEmbeddings), ["max_position_embeddings"],
      shapes: false)
    add(
      "rotary_base", flags.rotaryBase.map { JSONValue($0) }, ["rope_theta"], shapes: false,
      rotary: true)
    add(
      "mrope_section",
      flags.mropeSection.map { .array($0.compactMap { Int($0) }.map { JSONValue($0) }) },
      ["mrope_section"], shapes: false, rotary: true)
    add("norm_epsilon", flags.normEpsilon.map { JSONValue($0) }, ["rms_norm_eps"], shapes: false)
    add(
      "init_method_std", initializerRange.map { JSONValue($0) }, ["initializer_range"],
      shapes: false)
    add(
      "num_experts", number(flags.numExperts), ["num_experts", "num_local_experts"], experts: true)
    add(
      "moe_ffn_hidden_size", number(flags.moeFFNHiddenSize), ["moe_intermediate_size"],
      experts: true)
    add(
      "moe_router_topk", number(flags.moeRouterTopK), ["num_experts_per_tok"], shapes: false,
      experts: true)
    self.changes = changes
  }

  init(_ options: TrainingOptions) {
    self.init(
      options.architecture, paddedVocabulary: options.checkpoint.paddedVocabSize,
      initializerRange: options.extra.initMethodStd,
      rope: RopeOverride(
        options.model.ropeScaling, maxModelLength: options.model.maxModelLength))
  }

  private var isEmpty: Bool { changes.isEmpty && rope == nil }

  /// - Parameters:
  ///   - root: `config.json`.
  ///   - weightsAreGiven: the weights come from files, so their shapes cannot change.
  /// - Returns: the object with the flags' values; `root` itself without flags.
  /// - Throws: `OPT-103` with all contradictions; `MODEL-101` for values that do not fit together.
  func apply(to root: JSONObject, path: String, weightsAreGiven: Bool) throws(Fault) -> JSONObject {
    guard !isEmpty else { return root }
    let old = try QwenConfig(json: .object(root), path: path)
    var wrong: [String] = []
    var result = root
    // Models with a vision tower keep the text model's keys in an object of their own.
    var text = root["text_config"]?.object ?? root
    let isNested = root["text_config"]?.object != nil
    for change in changes {
      if change.isOfExperts, old.experts == nil {
        wrong.append("--\(change.flag): the model has no experts")
        continue
      }
      if change.flag == "mrope_section", old.vision == nil {
        wrong.append("--mrope_section: the model has no positions of media")
        continue
      }
      if isNested, change.keys[0] == "tie_word_embeddings", result[change.keys[0]] != nil {
        result[change.keys[0]] = change.value
      } else {
        ArchitectureOverrides.set(change, in: &text)
      }
      guard change.changesWeights, weightsAreGiven else { continue }
      let before = ArchitectureOverrides.stored(change, old)
      if before != change.value {
        wrong.append(
          "--\(change.flag) asks for \(change.keys[0]) \(change.value.write(.python)), the weights "
            + "have \(before.write(.python))")
      }
    }
    if let size = text["vocab_size"]?.int, size < old.vocabularySize {
      wrong.append("--padded_vocab_size \(size) is below the vocabulary of \(old.vocabularySize)")
    }
    guard wrong.isEmpty else {
      throw Fault(
        .optionsDisagree, wrong.joined(separator: "; "), at: .file(path),
        fix:
          "leave these flags out, or draw random weights: --no_initialization false without --load")
    }
    try rope?.apply(to: &text, path: path)
    if isNested { result["text_config"] = .object(text) } else { result = text }
    return result
  }

  /// Writes the value under the spelling that the file uses.
  private static func set(_ change: Change, in root: inout JSONObject) {
    // Older files have the base beside an object with the rest.
    let holder = root["rope_parameters"]?.object != nil ? "rope_parameters" : "rope_scaling"
    if change.isRotary, holder == "rope_parameters" || change.keys != ["rope_theta"] {
      var rope = root[holder]?.object ?? JSONObject([("rope_type", .string("default"))])
      rope[change.keys[0]] = change.value
      root[holder] = .object(rope)
      return
    }
    let key = change.keys.first { root[$0] != nil } ?? change.keys[0]
    root[key] = change.value
  }

  /// What the file says, defaults included.
  private static func stored(_ change: Change, _ config: QwenConfig) -> JSONValue {
    switch change.flag {
    case "num_layers": return JSONValue(config.layerCount)
    case "hidden_size": return JSONValue(config.hiddenSize)
    case "ffn_hidden_size": return JSONValue(config.intermediateSize)
    case "num_attention_heads": return JSONValue(config.headCount)
    case "num_query_groups": return JSONValue(config.groupCount)
    case "kv_channels": return JSONValue(config.headSize)
    case "padded_vocab_size": return JSONValue(config.vocabularySize)
    case "num_experts": return JSONValue(config.experts?.count ?? 0)
    case "moe_ffn_hidden_size": return JSONValue(config.experts?.intermediateSize ?? 0)
    case "untie_embeddings_and_output_weights": return .bool(config.tiesEmbeddings)
    default: return .null
    }
  }
}
