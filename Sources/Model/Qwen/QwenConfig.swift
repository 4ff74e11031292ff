import Foundation
import Support

/// `config.json` of a Qwen3, Qwen3-MoE, Qwen3-VL or Qwen3-VL-MoE folder, decoded and checked. A key that would change the
/// mathematics and is not known here is an error, never ignored.
/// - Source: the published configurations of both spellings (`torch_dtype`/`dtype`,
///   `num_experts`/`num_local_experts`, `rope_theta`/`rope_parameters`).
public struct QwenConfig: Sendable, Equatable {
  public enum Family: String, Sendable {
    case qwen3
    case qwen3MoE = "qwen3_moe"
    case qwen3VL = "qwen3_vl"
    case qwen3VLMoE = "qwen3_vl_moe"

    public var hasVision: Bool { self == .qwen3VL || self == .qwen3VLMoE }
    public var hasExperts: Bool { self == .qwen3MoE || self == .qwen3VLMoE }
  }

  public var family: Family
  public var vocabularySize: Int
  public var hiddenSize: Int
  public var intermediateSize: Int
  public var layerCount: Int
  public var headCount: Int
  public var groupCount: Int
  public var headSize: Int
  public var normEpsilon: Float
  public var ropeTheta: Double
  /// nil: plain frequencies.
  public var ropeScaling: RotaryScaling?
  public var tiesEmbeddings: Bool
  public var maxPositions: Int
  public var initializerRange: Double
  /// The type the folder says its weights have.
  public var dtype: String?
  /// Version of the library that wrote the folder, if it says so.
  public var writerVersion: String?
  public var experts: Experts?
  /// Frequencies of the time, height and width axes of positions; nil for text models.
  public var ropeSections: [Int]?
  /// The tower and its placeholders; nil for text models.
  public var vision: VisionConfig?

  /// What stands before our names of the text model's weights.
  public var textPrefix: String { vision == nil ? "" : "language_model." }

  public struct Experts: Sendable, Equatable {
    public var count: Int
    public var topK: Int
    public var intermediateSize: Int
    public var normalizesTopK: Bool
    public var sparseStep: Int
    public var denseLayers: Set<Int>
  }

  /// Query heads per key/value head.
  public var headRatio: Int { headCount / groupCount }

  public func isSparse(layer: Int) -> Bool {
    guard let experts else { return false }
    return !experts.denseLayers.contains(layer) && (layer + 1) % experts.sparseStep == 0
  }
  public var sparseLayers: [Int] { (0..<layerCount).filter(isSparse) }
  /// All layers are of one kind: checkpoints stack them.
  public var isUniform: Bool { sparseLayers.isEmpty || sparseLayers.count == layerCount }
}

extension QwenConfig {
  /// - Throws: `FILE-001`, `FILE-004`, `MODEL-101` for a missing or impossible value, `MODEL-102` for
  ///   one that is not implemented.
  public init(folder: String) throws(Fault) {
    let path = folder + "/config.json"
    guard let data = FileManager.default.contents(atPath: path) else {
      throw Fault(
        .missingFile, "no config.json", at: .file(path),
        fix: "name a folder in HuggingFace layout: config.json, *.safetensors, tokenizer files")
    }
    let root: JSONValue
    do {
      root = try JSONValue.parse(String(decoding: data, as: UTF8.self))
    } catch {
      throw Fault(.badJSON, error.reason, at: .file(path, line: error.line, column: error.column))
    }
    try self.init(json: root, path: path)
  }

  public init(json root: JSONValue, path: String) throws(Fault) {
    let type = try ConfigKeys(root: root, path: path).string("model_type")
    guard let family = Family(rawValue: type) else {
      throw Fault(
        .unknownModel, "model_type \"\(type)\" is not one of ours", at: .file(path),
        expected: "qwen3, qwen3_moe, qwen3_vl, qwen3_vl_moe")
    }
    self.family = family
    let keys = try QwenConfig.textKeys(root, family, path)
    let isMoE = family.hasExperts
    vocabularySize = try keys.int("vocab_size", default: 151936)
    hiddenSize = try keys.int("hidden_size", default: isMoE ? 2048 : 4096)
    intermediateSize = try keys.int(
      "intermediate_size", default: family == .qwen3VLMoE ? 5632 : isMoE ? 6144 : 22016)
    layerCount = try keys.int("num_hidden_layers", default: isMoE ? 24 : 32)
    headCount = try keys.int("num_attention_heads", default: family == .qwen3VLMoE ? 16 : 32)
    groupCount = try keys.int(
      "num_key_value_heads", default: family == .qwen3VLMoE ? 16 : isMoE ? 4 : 32, null: headCount)
    headSize = try keys.int("head_dim", default: isMoE ? hiddenSize / max(1, headCount) : 128)
    normEpsilon = Float(try keys.double("rms_norm_eps", default: 1e-6))
    maxPositions = try keys.int("max_position_embeddings", default: 32768)
    initializerRange = try keys.double("initializer_range", default: 0.02)
    let tied = root["tie_word_embeddings"] == nil ? keys : ConfigKeys(root: root, path: path)
    tiesEmbeddings = try tied.bool("tie_word_embeddings", default: false)
    dtype =
      [root, keys.root].lazy.compactMap {
        $0["torch_dtype"]?.string ?? $0["dtype"]?.string
      }.first
    writerVersion = root["transformers_version"]?.string
    ropeTheta = try keys.ropeTheta(default: family.hasVision ? nil : 10000)
    ropeScaling = try keys.ropeScaling(maxPositions: maxPositions)
    experts = isMoE ? try keys.experts(vision: family.hasVision) : nil
    if family.hasVision {
      ropeSections = try keys.ropeSections(headSize: headSize)
      vision = try VisionConfig(root: root, path: path)
    }
    try keys.refuseWhatChangesMathematics()
    try check(path)
  }

  /// The keys of the text model: the file itself, or its `text_config`.
  private static func textKeys(
    _ root: JSONValue, _ family: Family, _ path: String
  ) throws(Fault) -> ConfigKeys {
    guard family.hasVision else { return ConfigKeys(root: root, path: path) }
    guard let text = root["text_config"], text.object != nil else {
      throw Fault(.badModelConfig, "text_config is missing", at: .file(path))
    }
    return ConfigKeys(root: text, path: path, section: "text_config")
  }

  private func check(_ path: String) throws(Fault) {
    func require(_ condition: Bool, _ text: String) throws(Fault) {
      if !condition { throw Fault(.badModelConfig, text, at: .file(path)) }
    }
    try require(
      min(vocabularySize, hiddenSize, intermediateSize, layerCount, headCount, groupCount) > 0,
      "sizes must be positive")
    try require(
      headCount % groupCount == 0,
      "num_attention_heads \(headCount) is no multiple of num_key_value_heads \(groupCount)")
    try require(
      headSize % 4 == 0 && headSize <= 256, "head_dim \(headSize) is not a multiple of 4 up to 256")
    if let experts {
      try require(
        experts.topK >= 1 && experts.topK <= experts.count,
        "num_experts_per_tok \(experts.topK) is not between 1 and num_experts \(experts.count)")
      try require(experts.sparseStep >= 1, "decoder_sparse_step must be at least 1")
    }
    if let vision {
      try require(
        vision.outputSize == hiddenSize,
        "vision_config.out_hidden_size \(vision.outputSize) is not the hidden_size \(hiddenSize)")
      try require(
        vision.deepstackBlocks.count <= layerCount,
        "more deepstack_visual_indexes than the \(layerCount) layers of the text model")
      try require(
        max(vision.imageToken, vision.videoToken) < vocabularySize,
        "the placeholders lie outside of the vocabulary of \(vocabularySize)")
    }
  }
}

extension FaultCode {
  public static let badModelConfig = FaultCode(
    "MODEL-101", .badData, "config.json has a missing or impossible value")
  public static let unknownModel = FaultCode(
    "MODEL-102", .badData, "a model, or a property of one, that is not implemented")
  public static let badModelWeights = FaultCode(
    "MODEL-103", .badData, "the weights of a folder do not fit its config.json")
}
