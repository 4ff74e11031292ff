import Foundation
import Support
import Testing

@testable import Launcher

@Suite("Choice of the next token")
struct SamplerTests {
  private func draw(
    _ logits: [Float], _ change: (inout SamplingRule) -> Void, seen: Set<Int32> = [], step: Int = 0
  ) -> Int32 {
    var rule = SamplingRule()
    change(&rule)
    var copy = logits
    return copy.withUnsafeMutableBufferPointer {
      Sampler(rule).next($0, seen: seen, step: step)
    }
  }

  private func frequencies(_ logits: [Float], _ change: (inout SamplingRule) -> Void) -> [Double] {
    var counts = [Double](repeating: 0, count: logits.count)
    for step in 0..<4000 { counts[Int(draw(logits, change, step: step))] += 1 }
    return counts.map { $0 / 4000 }
  }

  @Test("Temperature 0 takes the first of the largest")
  func greedy() {
    #expect(draw([1, 3, 3, -2], { _ in }) == 1)
  }

  @Test("The penalty divides positive logits and multiplies negative ones, greedy too")
  func penalty() {
    #expect(draw([4, 3, 1], { $0.repetitionPenalty = 2 }, seen: [0]) == 1)
    #expect(draw([-1, -1.5, -9], { $0.repetitionPenalty = 2 }, seen: [0]) == 1)
  }

  @Test("Frequencies are those of the softmax at the temperature")
  func temperature() {
    let logits: [Float] = [0, 1, -1, 0.5]
    let weights = logits.map { exp(Double($0) / 0.7) }
    let total = weights.reduce(0, +)
    for (f, w) in zip(frequencies(logits) { $0.temperature = 0.7 }, weights) {
      #expect(abs(f - w / total) < 0.03)
    }
  }

  @Test("Top-k draws from the k likeliest only")
  func topK() {
    let f = frequencies([0, 2, 1, 3, 2.5]) {
      $0.temperature = 1
      $0.topK = 3
    }
    #expect(f[0] == 0 && f[2] == 0 && f[1] > 0 && f[3] > f[4] && f[4] > f[1])
  }

  @Test("Top-p keeps the fewest likeliest tokens that reach the sum, at least one")
  func topP() {
    // Probabilities 0.5, 0.3, 0.15, 0.05.
    let logits = [0.15, 0.5, 0.05, 0.3].map { Float(log($0)) }
    func alive(_ p: Double) -> [Int] {
      let f = frequencies(logits) {
        $0.temperature = 1
        $0.topP = p
      }
      return f.indices.filter { f[$0] > 0 }
    }
    #expect(alive(0.4) == [1])
    #expect(alive(0.0) == [1])
    #expect(alive(0.7) == [1, 3])
    #expect(alive(0.9) == [0, 1, 3])
    #expect(alive(1.0) == [0, 1, 2, 3])
  }

  @Test("A draw depends on the seed and the step only")
  func seeds() {
    let logits = (0..<50).map { Float($0 % 7) * 0.3 }
    func run(_ seed: UInt64) -> [Int32] {
      (0..<20).map { step in
        draw(
          logits,
          {
            $0.temperature = 1
            $0.seed = seed
          }, step: step)
      }
    }
    #expect(run(1) == run(1))
    #expect(run(1) != run(2))
  }

  @Test("Log probabilities add up to one, and the likeliest come first")
  func logProbabilities() {
    var logits: [Float] = [0.5, -3, 2, 2, 1]
    logits.withUnsafeMutableBufferPointer { p in
      let all = LogProbabilities(p)
      let sum = (0..<5).reduce(0.0) { $0 + exp(Double(all[Int32($1)].logProbability)) }
      #expect(abs(sum - 1) < 1e-6)
      #expect(all.likeliest(3).map(\.token) == [2, 3, 4])
    }
  }

  @Test("A stop word is seen across tokens")
  func stopWords() {
    let pieces = ["Hel", "lo wo", "rld", "END"]
    var watch = StopWatch(["o world"]) { Array(pieces[Int($0)].utf8) }
    let seen = [0, 1, 2].map { watch.sees($0) }
    #expect(seen == [false, false, true])
    var none = StopWatch([]) { _ in [] }
    let nothing = none.sees(0)
    #expect(!nothing)
  }
}
