import CKernels
import Support
import Tensor

// t tokens of this rank   e experts   k experts per token

/// The choice of experts for rows of logits, and its derivative. Pure: no communication.
public struct ExpertChoice: Sendable {
  /// `[t, k]` expert of each slot, by decreasing score; equal scores by ascending index.
  public let experts: [Int32]
  /// `[t, k]` weight of each slot.
  public let gates: [Float]
  public let topK: Int
  public let expertCount: Int

  /// - Parameters:
  ///   - logits: `[t, e]` fp32.
  ///   - bias: `[e]`, added to sigmoid scores for the choice only.
  ///   - replayed: `[t, k]`, the choice when it was made elsewhere; the gates are of these logits.
  ///   - engine: whose threads share the rows.
  public init(
    logits: UnsafeBufferPointer<Float>, options: RouterOptions, bias: [Float]? = nil,
    replayed: [Int32]? = nil, engine: Engine
  ) {
    let e = options.experts
    let k = options.topK
    let t = logits.count / e
    topK = k
    expertCount = e
    var experts = [Int32](repeating: 0, count: t * k)
    var gates = [Float](repeating: 0, count: t * k)
    experts.withUnsafeMutableBufferPointer { experts in
      gates.withUnsafeMutableBufferPointer { gates in
        engine.parallel(t, grain: ExpertChoice.rowsTogether) { rows in
          var scores = [Float](repeating: 0, count: e)
          for row in rows {
            let z = UnsafeBufferPointer(rebasing: logits[row * e..<(row + 1) * e])
            ExpertChoice.scores(z, options, into: &scores)
            let chosen =
              replayed?[row * k..<(row + 1) * k].map { Int($0) }
              ?? ExpertChoice.largest(k, of: scores, bias: bias)
            for (j, expert) in chosen.enumerated() { experts[row * k + j] = Int32(expert) }
            let values = ExpertChoice.gates(of: chosen.map { scores[$0] }, options)
            for j in 0..<k { gates[row * k + j] = values[j] }
          }
        }
      }
    }
    self.experts = experts
    self.gates = gates
  }

  /// Rows that one thread takes at once.
  private static let rowsTogether = 64

  /// A choice that was made elsewhere: `experts` and `gates` are `[t, k]`.
  init(experts: [Int32], gates: [Float], topK: Int, expertCount: Int) {
    self.experts = experts
    self.gates = gates
    self.topK = topK
    self.expertCount = expertCount
  }

  /// The shape of a choice, for engines that only plan: tokens are dealt out in turn.
  init(planning tokens: Int, options: RouterOptions) {
    topK = options.topK
    expertCount = options.experts
    experts = (0..<tokens * options.topK).map { Int32($0 % options.experts) }
    gates = [Float](repeating: 0, count: experts.count)
  }

  /// What the experts are compared by: logits, their softmax, or their sigmoid.
  private static func scores(
    _ z: UnsafeBufferPointer<Float>, _ options: RouterOptions, into scores: inout [Float]
  ) {
    switch (options.score, options.preSoftmax) {
    case (.softmax, false): for i in z.indices { scores[i] = z[i] }
    case (.softmax, true): softmax(z, into: &scores)
    case (.sigmoid, _): for i in z.indices { scores[i] = ck_sigmoidf(z[i]) }
    }
  }

  static func softmax(_ z: UnsafeBufferPointer<Float>, into p: inout [Float]) {
    let m = z.reduce(-Float.infinity) { max($0, $1) }
    var sum: Float = 0
    for i in z.indices {
      p[i] = ck_expf(z[i] - m)
      sum += p[i]
    }
    for i in z.indices { p[i] /= sum }
  }

  private static func largest(_ k: Int, of scores: [Float], bias: [Float]?) -> [Int] {
    var chosen: [Int] = []
    var taken = [Bool](repeating: false, count: scores.count)
    for _ in 0..<k {
      var best = -1
      var bestScore = -Float.infinity
      for i in scores.indices where !taken[i] {
        let score = scores[i] + (bias?[i] ?? 0)
        if best < 0 || score > bestScore { (best, bestScore) = (i, score) }
      }
      taken[best] = true
      chosen.append(best)
    }
    return chosen
  }

  private static func gates(of s: [Float], _ options: RouterOptions) -> [Float] {
    var result = s
    switch (options.score, options.preSoftmax) {
    case (.softmax, false): s.withUnsafeBufferPointer { softmax($0, into: &result) }
    case (.softmax, true): break
    case (.sigmoid, _):
      if s.count > 1 {
        let sum = s.reduce(0, +) + 1e-20
        result = s.map { $0 / sum }
      }
    }
    if let factor = options.scalingFactor { result = result.map { $0 * factor } }
    return result
  }

  /// `dz[t, e] +=` what the gates' gradient `[t, k]` gives.
  ///
  /// After-softmax: `dz_j = g_j (dg_j − Σ g dg)` over the chosen. Before: `dz = p ∘ (dp − Σ p dp)`
  /// over all experts. Sigmoid: through the normalisation, then `σ(1 − σ)`.
  func addLogitGradient(
    of dgates: UnsafeBufferPointer<Float>, logits: UnsafeBufferPointer<Float>,
    options: RouterOptions, engine: Engine, into dz: UnsafeMutableBufferPointer<Float>
  ) {
    engine.parallel(experts.count / topK, grain: ExpertChoice.rowsTogether) {
      addLogitGradient($0, of: dgates, logits: logits, options: options, into: dz)
    }
  }

  private func addLogitGradient(
    _ rows: Range<Int>, of dgates: UnsafeBufferPointer<Float>,
    logits: UnsafeBufferPointer<Float>, options: RouterOptions,
    into dz: UnsafeMutableBufferPointer<Float>
  ) {
    let e = expertCount
    let k = topK
    let scale = options.scalingFactor ?? 1
    var p = [Float](repeating: 0, count: e)
    for row in rows {
      let z = UnsafeBufferPointer(rebasing: logits[row * e..<(row + 1) * e])
      let chosen = (0..<k).map { Int(experts[row * k + $0]) }
      let dg = (0..<k).map { dgates[row * k + $0] * scale }
      let g = (0..<k).map { gates[row * k + $0] / scale }
      switch (options.score, options.preSoftmax) {
      case (.softmax, false):
        let dot = zip(g, dg).reduce(Float(0)) { $0 + $1.0 * $1.1 }
        for j in 0..<k { dz[row * e + chosen[j]] += g[j] * (dg[j] - dot) }
      case (.softmax, true):
        ExpertChoice.softmax(z, into: &p)
        let dot = zip(g, dg).reduce(Float(0)) { $0 + $1.0 * $1.1 }
        for i in 0..<e { dz[row * e + i] -= p[i] * dot }
        for j in 0..<k { dz[row * e + chosen[j]] += g[j] * dg[j] }
      case (.sigmoid, _):
        let s = chosen.map { ck_sigmoidf(z[$0]) }
        let sum = s.reduce(0, +) + 1e-20
        let dot = k > 1 ? zip(g, dg).reduce(Float(0)) { $0 + $1.0 * $1.1 } : 0
        for j in 0..<k {
          let ds = k > 1 ? (dg[j] - dot) / sum : dg[j]
          dz[row * e + chosen[j]] += ds * s[j] * (1 - s[j])
        }
      }
    }
  }
}
