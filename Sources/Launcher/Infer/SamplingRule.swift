import Foundation
import Support

/// How the next token is chosen from the logits.
///
/// Order of the operations: repetition penalty, temperature, top-k, top-p, draw. Temperature 0 takes
/// the likeliest token; the penalty counts there too.
public struct SamplingRule: Sendable, Equatable, Codable {
  /// 0 = greedy.
  public var temperature = 0.0
  /// Draw from this many likeliest tokens; 0 or less = all.
  public var topK = 0
  /// Draw from the fewest likeliest tokens whose probabilities reach this sum.
  public var topP = 1.0
  /// Tokens seen before, the prompt's too: a positive logit is divided by it, others multiplied.
  public var repetitionPenalty = 1.0
  public var seed: UInt64 = 42
  public init() {}

  var isGreedy: Bool { temperature == 0 }
}

/// A token with its log probability under the model, before penalty and temperature.
public struct TokenProbability: Sendable, Equatable {
  public let token: Int32
  public let logProbability: Float
}

/// Chooses tokens for one sequence. The draw of token i depends on the seed and i only.
struct Sampler {
  let rule: SamplingRule
  private let random: CounterRandom

  init(_ rule: SamplingRule) {
    self.rule = rule
    random = CounterRandom(seed: rule.seed, purpose: "generation")
  }

  /// - Parameters:
  ///   - logits: `[v]` fp32 of one row; changed in place.
  ///   - seen: ids whose logits the penalty lowers.
  ///   - step: how many tokens were drawn before.
  func next(
    _ logits: UnsafeMutableBufferPointer<Float>, seen: Set<Int32>, step: Int
  ) -> Int32 {
    if rule.repetitionPenalty != 1 { penalize(logits, seen) }
    if rule.isGreedy { return Self.largest(logits) }
    let inverse = Float(1 / rule.temperature)
    for i in logits.indices { logits[i] *= inverse }
    return draw(candidates(logits), logits, step)
  }

  private func penalize(_ logits: UnsafeMutableBufferPointer<Float>, _ seen: Set<Int32>) {
    let penalty = Float(rule.repetitionPenalty)
    for id in seen where Int(id) < logits.count && id >= 0 {
      let z = logits[Int(id)]
      logits[Int(id)] = z > 0 ? z / penalty : z * penalty
    }
  }

  /// The first of the largest.
  static func largest(_ logits: UnsafeMutableBufferPointer<Float>) -> Int32 {
    var best = 0
    for i in logits.indices where logits[i] > logits[best] || logits[best].isNaN { best = i }
    return Int32(best)
  }

  /// Ids at or above the k-th largest logit, all without a top-k; likeliest first.
  private func candidates(_ logits: UnsafeMutableBufferPointer<Float>) -> [Int32] {
    var ids: [Int32]
    if rule.topK > 0, rule.topK < logits.count {
      let threshold = Self.kthLargest(logits, rule.topK)
      ids = logits.indices.filter { logits[$0] >= threshold }.map(Int32.init)
    } else {
      ids = logits.indices.filter { logits[$0] > -.infinity }.map(Int32.init)
      // Without a limit of the sum the order does not matter.
      if rule.topP >= 1 { return ids }
    }
    ids.sort {
      let (a, b) = (logits[Int($0)], logits[Int($1)])
      return a != b ? a > b : $0 < $1
    }
    return ids
  }

  /// The k-th largest value, by a heap of the k largest so far.
  private static func kthLargest(_ values: UnsafeMutableBufferPointer<Float>, _ k: Int) -> Float {
    var heap = Array(values.prefix(k)).sorted()
    for value in values.dropFirst(k) where value > heap[0] {
      heap[0] = value
      var at = 0
      while true {
        var least = at
        for child in [2 * at + 1, 2 * at + 2] where child < k && heap[child] < heap[least] {
          least = child
        }
        if least == at { break }
        heap.swapAt(at, least)
        at = least
      }
    }
    return heap[0]
  }

  private func draw(
    _ ids: [Int32], _ logits: UnsafeMutableBufferPointer<Float>, _ step: Int
  ) -> Int32 {
    guard var best = ids.first else { return Self.largest(logits) }
    let top = ids.reduce(-Float.infinity) { max($0, logits[Int($1)]) }
    var weights = ids.map { exp(Double(logits[Int($0)] - top)) }
    var total = weights.reduce(0, +)
    if rule.topP < 1 {
      var sum = 0.0
      var count = 0
      while count < weights.count, count == 0 || sum < rule.topP * total {
        sum += weights[count]
        count += 1
      }
      weights.removeLast(weights.count - count)
      total = sum
    }
    var left = random.uniform(step) * total
    for (id, weight) in zip(ids, weights) {
      best = id
      left -= weight
      if left < 0 { break }
    }
    return best
  }
}

/// The log softmax of a row: of a chosen token and of the likeliest ones.
struct LogProbabilities {
  let logits: UnsafeMutableBufferPointer<Float>
  private let logSum: Double

  init(_ logits: UnsafeMutableBufferPointer<Float>) {
    self.logits = logits
    let top = logits.max() ?? 0
    logSum = Double(top) + log(logits.reduce(0.0) { $0 + exp(Double($1 - top)) })
  }

  subscript(token: Int32) -> TokenProbability {
    TokenProbability(
      token: token, logProbability: Float(Double(logits[Int(token)]) - logSum))
  }

  func likeliest(_ count: Int) -> [TokenProbability] {
    guard count > 0 else { return [] }
    var best: [Int32] = []
    for i in logits.indices {
      if best.count == count, logits[i] <= logits[Int(best[count - 1])] { continue }
      let place = best.firstIndex { logits[Int($0)] < logits[i] } ?? best.count
      best.insert(Int32(i), at: place)
      if best.count > count { best.removeLast() }
    }
    return best.map { self[$0] }
  }
}
