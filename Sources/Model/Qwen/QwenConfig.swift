import Foundation
import Support

/// `config.json` of a Qwen3 or Qwen3-MoE folder, decoded and checked. A key that would change the
/// mathematics and is not known here is an error, never ignored.
/// - Source: the published configurations of both spellings (`torch_dtype`/`dtype`,
///   `num_experts`/`num_local_experts`, `rope_theta`/`rope_parameters`).
public struct QwenConfig: Sendable, Equatable {
  public enum Family: String, Sendable {
    case qwen3
    case qwen3MoE = "qwen3_moe"
    case qwen3VL = "qwen3_vl"
    case qwen3VLMoE = "qwen3_vl_moe"
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
  public var tiesEmbeddings: Bool
  public var maxPositions: Int
  public var initializerRange: Double
  /// The type the folder says its weights have.
  public var dtype: String?
  public var experts: Experts?

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
    let keys = ConfigKeys(root: root, path: path)
    let type = try keys.string("model_type")
    guard let family = Family(rawValue: type) else {
      throw Fault(
        .unknownModel, "model_type \"\(type)\" is not one of ours", at: .file(path),
        expected: "qwen3, qwen3_moe")
    }
    guard family == .qwen3 || family == .qwen3MoE else {
      throw Fault(
        .unknownModel, "\(type) has a vision tower, which comes with a later version",
        at: .file(path))
    }
    self.family = family
    let isMoE = family == .qwen3MoE
    vocabularySize = try keys.int("vocab_size", default: 151936)
    hiddenSize = try keys.int("hidden_size", default: isMoE ? 2048 : 4096)
    intermediateSize = try keys.int("intermediate_size", default: isMoE ? 6144 : 22016)
    layerCount = try keys.int("num_hidden_layers", default: isMoE ? 24 : 32)
    headCount = try keys.int("num_attention_heads", default: 32)
    groupCount = try keys.int("num_key_value_heads", default: isMoE ? 4 : 32, null: headCount)
    headSize = try keys.int("head_dim", default: isMoE ? hiddenSize / headCount : 128)
    normEpsilon = Float(try keys.double("rms_norm_eps", default: 1e-6))
    maxPositions = try keys.int("max_position_embeddings", default: 32768)
    initializerRange = try keys.double("initializer_range", default: 0.02)
    tiesEmbeddings = try keys.bool("tie_word_embeddings", default: false)
    dtype = root["torch_dtype"]?.string ?? root["dtype"]?.string
    ropeTheta = try keys.ropeTheta(default: 10000)
    experts = isMoE ? try keys.experts() : nil
    try keys.refuseWhatChangesMathematics()
    try check(path)
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
