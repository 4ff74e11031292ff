import DataPipeline
import Model
import Support

/// From a conversation and its configuration to a job in tokens.
struct PromptBuilder: Sendable {
  let template: ChatTemplate
  let defaults: GenerationDefaults
  /// Tokens a text may have, prompt and answer together.
  let maxModelLength: Int
  let vocabularySize: Int
  /// Of requests that name none.
  let seed: Int
  /// nil for a model that reads text only.
  let media: MediaSetup?

  /// - Throws: `DATA-1xx`, `DATA-2xx` for a conversation that cannot be rendered; `GEN-101` when no
  ///   room is left for an answer; `DATA-301`.
  func job(id: Int, _ row: StandardRow, _ config: RequestConfig) throws(Fault) -> GenerationJob {
    guard media != nil || row.images.isEmpty && row.videos.isEmpty else {
      throw Fault(
        .badInferRequest, "the model reads text only", fix: "leave pictures and clips out")
    }
    let encoded = try template.encodePromptRow(row)
    let prompt = encoded.inputIDs
    guard !prompt.isEmpty else { throw Fault(.badInferRequest, "the prompt has no tokens") }
    if let bad = prompt.first(where: { $0 < 0 || Int($0) >= vocabularySize }) {
      throw Fault(
        .idOutsideVocabulary, "token \(bad) of the prompt is outside the vocabulary",
        expected: "0 to \(vocabularySize - 1)",
        fix: "use the tokenizer that belongs to the model")
    }
    let room = maxModelLength - prompt.count
    guard room > 0 else {
      throw Fault(
        .promptTooLong,
        "the prompt has \(prompt.count) tokens, the model takes \(maxModelLength) with the answer",
        fix: "shorten the conversation, or raise --max_model_len if the model allows it")
    }
    var job = GenerationJob(
      id: id, prompt: prompt, maxNewTokens: min(config.maxTokens ?? room, room))
    job.rule = defaults.rule(config, seed: config.seed ?? seed)
    job.stopIDs = template.stopIDs.union(defaults.endIDs)
    job.stopWords = config.stop
    job.suppressed = Array(template.placeholderIDs)
    job.wantsProbabilities = config.logprobs || config.topLogprobs > 0
    job.likeliest = config.topLogprobs
    if let media, !encoded.media.isEmpty { job.media = try media.generation(encoded) }
    return job
  }

  /// What every answer begins with because the prompt already has it.
  var answerPrefix: String { template.reply([]) }

  func logprob(_ token: GeneratedToken) -> TokenLogprob? {
    guard let probability = token.probability else { return nil }
    var result = logprob(probability)
    result.likeliest = token.likeliest.map(logprob)
    return result
  }

  private func logprob(_ p: TokenProbability) -> TokenLogprob {
    let bytes = template.tokenizer.bytes(of: p.token)
    return TokenLogprob(
      token: String(decoding: bytes, as: UTF8.self), bytes: bytes, logprob: p.logProbability)
  }
}

/// The text of an answer as its tokens come.
struct Answer {
  private let prompts: PromptBuilder
  private var decoder: TokenStreamDecoder
  private(set) var text = ""
  private(set) var tokenCount = 0
  private(set) var logprobs: [TokenLogprob] = []
  private var hasBegun = false

  init(_ prompts: PromptBuilder) {
    self.prompts = prompts
    decoder = TokenStreamDecoder(prompts.template.tokenizer)
  }

  /// - Returns: the text that is certain now and was not before.
  mutating func add(_ event: GenerationEvent) -> String {
    var fresh = hasBegun ? "" : prompts.answerPrefix
    hasBegun = true
    if let token = event.token {
      tokenCount += 1
      fresh += decoder.append(token.token)
      if let logprob = prompts.logprob(token) { logprobs.append(logprob) }
    }
    if event.finish != nil { fresh += decoder.finish() }
    text += fresh
    return fresh
  }
}

extension MediaSetup {
  /// The pictures and clips of a prompt, decoded.
  /// - Throws: `DATA-4xx` for media that cannot be read, `MODEL-104`.
  fileprivate func generation(_ row: EncodedRow) throws(Fault) -> GenerationMedia {
    let loaded = try processor.load(row)
    let grids = loaded.media.map { PatchGrid($0.grid) }
    let axes = try AxisPositions(
      ids: row.inputIDs, grids: grids, documentStarts: [0, Int32(row.inputIDs.count)],
      config: vision)
    return GenerationMedia(
      grids: grids, pixels: try settings.pixels(of: loaded.media), axes: axes)
  }
}
