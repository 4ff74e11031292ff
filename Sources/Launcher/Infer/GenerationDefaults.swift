import Foundation
import Support

/// `generation_config.json` of a model's folder: what holds where a request says nothing.
struct GenerationDefaults: Sendable, Equatable {
  var samples = false
  var temperature: Double?
  var topK: Int?
  var topP: Double?
  var repetitionPenalty: Double?
  var endIDs: Set<Int32> = []

  init() {}

  /// - Returns: nothing set when the folder has no such file.
  /// - Throws: `FILE-002`, `FILE-004`.
  init(folder: String) throws(Fault) {
    let path = folder + "/generation_config.json"
    guard FileManager.default.fileExists(atPath: path) else { return }
    guard let data = FileManager.default.contents(atPath: path) else {
      throw Fault(.unreadableFile, "cannot be read", at: .file(path))
    }
    let json: JSONValue
    do throws(JSONSyntaxError) {
      json = try JSONValue.parse(String(decoding: data, as: UTF8.self))
    } catch {
      throw Fault(.badJSON, error.reason, at: .file(path, line: error.line, column: error.column))
    }
    samples = json["do_sample"]?.bool ?? false
    temperature = json["temperature"]?.double
    topK = json["top_k"]?.int
    topP = json["top_p"]?.double
    repetitionPenalty = json["repetition_penalty"]?.double
    let ends = json["eos_token_id"]?.array ?? json["eos_token_id"].map { [$0] } ?? []
    endIDs = Set(ends.compactMap { $0.int.flatMap(Int32.init(exactly:)) })
  }

  /// The rule of a request. Sampling is what a request asks for by one of its values, or what the
  /// folder has switched on; temperature 0 is greedy either way.
  func rule(_ config: RequestConfig, seed: Int) -> SamplingRule {
    var rule = SamplingRule()
    rule.repetitionPenalty = config.repetitionPenalty ?? repetitionPenalty ?? 1
    rule.seed = UInt64(bitPattern: Int64(seed))
    let asks = config.temperature != nil || config.topK != nil || config.topP != nil
    guard config.temperature != 0, asks || samples else { return rule }
    rule.temperature = config.temperature ?? temperature ?? 1
    rule.topK = config.topK ?? topK ?? 0
    rule.topP = config.topP ?? topP ?? 1
    return rule
  }
}
