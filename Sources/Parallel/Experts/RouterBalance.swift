import CKernels
import Support
import Tensor

/// The auxiliary losses of a router: their values for the log and their gradients.
struct RouterBalance: Sendable {
  /// Chosen rows per (sequence, expert) over the group, before any dropping: `[sequences][e]`.
  let counts: [[Int64]]
  /// Rows of each sequence that this rank has (indices into its own rows).
  let sequences: [Range<Int>]
  /// Rows of each sequence over the group.
  let lengths: [Int]
  let options: RouterOptions
  let seed: Float
  /// Rows over the group.
  let tokens: Int

  init(
    choice: ExpertChoice, logits: Tensor, realRows: Int, options: RouterOptions, setting: Setting
  ) throws(Fault) {
    self.options = options
    let e = options.experts
    // Packed rows are one sequence; so are micro-batches of one padded row.
    let ranges = options.balancing == .sequenceAuxLoss ? setting.layout.paddedSequences : nil
    let own = setting.routedRows
    let whole = ranges ?? [0..<setting.layout.realTokens]
    sequences = whole.map { range in
      let clipped = range.clamped(to: own.lowerBound..<own.lowerBound + realRows)
      return clipped.lowerBound - own.lowerBound..<clipped.upperBound - own.lowerBound
    }
    lengths = whole.map(\.count)
    var flat = [Int64](repeating: 0, count: sequences.count * e)
    for (s, rows) in sequences.enumerated() {
      for slot in rows.lowerBound * choice.topK..<rows.upperBound * choice.topK {
        flat[s * e + Int(choice.experts[slot])] += 1
      }
    }
    if setting.sequenceParallel, !setting.engine.isPlanning {
      try flat.withUnsafeMutableBufferPointer { (counts) throws(Fault) in
        try setting.groups.tp.allReduceSum(counts)
      }
    }
    counts = (0..<sequences.count).map { Array(flat[$0 * e..<($0 + 1) * e]) }
    tokens = setting.layout.realTokens
    seed = setting.seeds.auxiliary(tokens: tokens)
  }

  private var auxIsOn: Bool { options.balancing != .none && options.auxLossCoefficient != 0 }

  /// Coefficient of `f_e · P[t, e]` for the rows of one sequence.
  private func factor(_ s: Int) -> Float {
    let length = Float(max(1, lengths[s]))
    return Float(options.experts) / (Float(options.topK) * length * length)
      / Float(sequences.count)
  }

  /// `dz += P ∘ (dP − Σ P dP)` of the auxiliary loss and `2c/T · logsumexp · P` of the z-loss.
  func addLogitGradient(logits: Tensor, into dz: Tensor) throws(Fault) {
    guard auxIsOn || options.zLossCoefficient != 0 else { return }
    let e = options.experts
    let p = try logits.copy()
    let lse = try Tensor([logits.rows], .float32, on: logits.engine)
    logits.engine.softmaxRows(p, logSumExp: lse.pointer(as: Float.self))
    for (s, rows) in sequences.enumerated() {
      let aux = auxIsOn ? options.auxLossCoefficient * factor(s) * seed : 0
      let f = counts[s].map { Float($0) * aux }
      for t in rows {
        let z = 2 * options.zLossCoefficient * seed / Float(max(1, tokens)) * lse.floats[t]
        if options.score == .sigmoid {
          addSigmoidGradient(t, f, logits, into: dz)
          for i in 0..<e { dz.floats[t * e + i] += z * p.floats[t * e + i] }
          continue
        }
        var dot: Float = 0
        for i in 0..<e { dot += p.floats[t * e + i] * f[i] }
        for i in 0..<e { dz.floats[t * e + i] += p.floats[t * e + i] * (f[i] - dot + z) }
      }
    }
  }

  /// For sigmoid scores P = σ/Σσ.
  private func addSigmoidGradient(_ t: Int, _ f: [Float], _ logits: Tensor, into dz: Tensor) {
    let e = options.experts
    let s = (0..<e).map { ck_sigmoidf(logits.floats[t * e + $0]) }
    let sum = s.reduce(0, +) + 1e-20
    let dot = zip(s, f).reduce(Float(0)) { $0 + $1.0 / sum * $1.1 }
    for i in 0..<e { dz.floats[t * e + i] += (f[i] - dot) / sum * s[i] * (1 - s[i]) }
  }

  /// P = σ/Σσ of one row.
  private func setSigmoidShares(_ t: Int, _ logits: Tensor, into p: Tensor) {
    let e = options.experts
    for i in t * e..<(t + 1) * e { p.floats[i] = ck_sigmoidf(logits.floats[i]) }
    let sum = p.floats[t * e..<(t + 1) * e].reduce(0, +) + 1e-20
    for i in t * e..<(t + 1) * e { p.floats[i] /= sum }
  }

  /// Adds this rank's share of the losses, without their coefficients; the log sums over tp.
  func report(_ logits: Tensor, to statistics: RouterStatistics) throws(Fault) {
    statistics.layers += 1
    statistics.assignments += sequences.reduce(0) { $0 + $1.count } * options.topK
    guard !logits.engine.isPlanning, auxIsOn || options.zLossCoefficient != 0 else { return }
    let e = options.experts
    let p = try logits.copy()
    let lse = try Tensor([logits.rows], .float32, on: logits.engine)
    logits.engine.softmaxRows(p, logSumExp: lse.pointer(as: Float.self))
    for (s, rows) in sequences.enumerated() {
      var aux = 0.0
      for t in rows {
        statistics.zLoss += Double(lse.floats[t] * lse.floats[t]) / Double(max(1, tokens))
        if options.score == .sigmoid { setSigmoidShares(t, logits, into: p) }
        for i in 0..<e { aux += Double(p.floats[t * e + i]) * Double(counts[s][i]) }
      }
      if auxIsOn { statistics.auxiliaryLoss += aux * Double(factor(s)) }
    }
  }
}
