import Support

/// One answer to be generated, in tokens. The same on every rank of a model.
struct GenerationJob: Sendable, Codable, Equatable {
  var id: Int
  var prompt: [Int32]
  var maxNewTokens: Int
  var rule = SamplingRule()
  /// Ids that end the answer and are no part of it.
  var stopIDs: Set<Int32> = []
  /// Texts that end the answer and stay in it.
  var stopWords: [String] = []
  /// Ids that are never chosen.
  var suppressed: [Int32] = []
  /// Give the log probability of each token.
  var wantsProbabilities = false
  /// Give those of this many likeliest tokens too.
  var likeliest = 0
}

/// Why an answer ended.
public enum FinishReason: String, Sendable, Codable {
  case stop, length
  /// Ended by the user; not a finish of the published interfaces.
  case cancelled
}

/// A generated token.
struct GeneratedToken: Sendable {
  let token: Int32
  let probability: TokenProbability?
  let likeliest: [TokenProbability]
}

/// What a step did for a job: a token, the end, or both.
struct GenerationEvent: Sendable {
  let job: Int
  var token: GeneratedToken?
  var finish: FinishReason?
}
