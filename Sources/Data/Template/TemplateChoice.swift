import Support

/// Which template a model gets, and why.
public struct TemplateChoice: Sendable, Equatable {
  /// As `args.json` writes it: `qwen3`, `qwen3_moe`, `qwen3_thinking`, …
  public let modelType: String
  public let template: TemplateName
  /// One phrase for the log: what decided.
  public let reason: String

  /// What is known of a model.
  public struct Facts: Sendable {
    /// `--template`.
    public var template: String?
    /// `--model_type`.
    public var modelType: String?
    /// Path or hub id of the model; its last component counts.
    public var model: String
    /// `architectures` of `config.json`.
    public var architectures: [String]
    /// The chat template of the folder.
    public var chatTemplate: String?

    public init(
      model: String, architectures: [String] = [], chatTemplate: String? = nil,
      modelType: String? = nil, template: String? = nil
    ) {
      self.template = template
      self.modelType = modelType
      self.model = model
      self.architectures = architectures
      self.chatTemplate = chatTemplate
    }
  }

  /// Model types and their templates.
  static let templates: [String: TemplateName] = [
    "qwen3": .qwen3, "qwen3_moe": .qwen3, "qwen3_nothinking": .qwen3NoThinking,
    "qwen3_thinking": .qwen3Thinking, "qwen3_moe_thinking": .qwen3Thinking,
    "qwen3_vl": .qwen3VL, "qwen3_moe_vl": .qwen3VL,
  ]

  /// Chooses by `--model_type`, else by the name of the model, else by its architecture, and
  /// where that leaves several by what its chat template does. `--template` overrides the
  /// template of the type.
  /// - Throws: DATA-205 for unknown names, or when nothing is known of the model.
  public init(_ facts: Facts) throws(Fault) {
    let (modelType, reason) = try Self.modelType(facts)
    self.modelType = modelType
    if let name = facts.template {
      template = try TemplateName(named: name)
      self.reason = "--template"
    } else {
      template = Self.templates[modelType] ?? .qwen3NoThinking
      self.reason = reason
    }
  }

  private static func modelType(_ facts: Facts) throws(Fault) -> (String, String) {
    if let type = facts.modelType {
      guard templates[type] != nil else {
        throw Fault(
          .unknownTemplate, "there is no model type \"\(type)\"", at: .flag("model_type"),
          expected: templates.keys.sorted().joined(separator: ", "), found: type,
          fix: "name one of these, or leave --model_type away")
      }
      return (type, "--model_type")
    }
    if let type = registered(facts.model) { return (type, "name of the model") }
    for architecture in facts.architectures {
      switch architecture {
      case "Qwen3VLForConditionalGeneration": return ("qwen3_vl", architecture)
      case "Qwen3VLMoeForConditionalGeneration": return ("qwen3_moe_vl", architecture)
      case "Qwen3ForCausalLM": return (byChatTemplate(facts, isMoE: false), "chat template")
      case "Qwen3MoeForCausalLM": return (byChatTemplate(facts, isMoE: true), "chat template")
      default: continue
      }
    }
    throw Fault(
      .unknownTemplate, "the type of the model cannot be told", at: .file(facts.model),
      expected: "a Qwen3 or Qwen3-MoE model",
      found: "architectures: \(facts.architectures.joined(separator: ", "))",
      fix: "give --model_type, for example --model_type qwen3_moe")
  }

  /// Type of a published name: `Qwen3-30B-A3B-Thinking-2507-FP8`, `Qwen3-VL-8B-Instruct`, …
  static func registered(_ model: String) -> String? {
    let name = model.split(separator: "/").last.map { $0.lowercased() } ?? ""
    var words = name.split(separator: "-").map(String.init)
    guard words.first == "qwen3", words.count > 1 else { return nil }
    words.removeFirst()
    let quantized: Set = ["fp8", "awq", "gptq", "int4", "int8"]
    while let last = words.last, quantized.contains(last) { words.removeLast() }
    let isVL = words.first == "vl"
    if isVL { words.removeFirst() }
    guard let size = words.first, isSize(size, prefix: "") else { return nil }
    words.removeFirst()
    let isMoE = words.first.map { isSize($0, prefix: "a") } ?? false
    if isMoE { words.removeFirst() }
    if isVL {
      guard words == ["instruct"] || words == ["thinking"] else { return nil }
      return isMoE ? "qwen3_moe_vl" : "qwen3_vl"
    }
    switch words {
    case [], ["base"]: return isMoE ? "qwen3_moe" : "qwen3"
    case ["instruct", "2507"]: return "qwen3_nothinking"
    case ["thinking", "2507"]: return isMoE ? "qwen3_moe_thinking" : "qwen3_thinking"
    default: return nil
    }
  }

  /// `0.6b`, `235b`, and with the prefix `a22b`.
  private static func isSize(_ word: String, prefix: String) -> Bool {
    guard word.hasPrefix(prefix), word.hasSuffix("b") else { return false }
    return Double(word.dropFirst(prefix.count).dropLast()) != nil
  }

  private static func byChatTemplate(_ facts: Facts, isMoE: Bool) -> String {
    let text = facts.chatTemplate ?? ""
    if text.contains("enable_thinking") { return isMoE ? "qwen3_moe" : "qwen3" }
    // The generation prompt is the last part of a template that asks for it.
    let prompt = text.ranges(of: "add_generation_prompt").last.map { text[$0.upperBound...] } ?? ""
    if prompt.contains("<think>") { return isMoE ? "qwen3_moe_thinking" : "qwen3_thinking" }
    return "qwen3_nothinking"
  }
}
