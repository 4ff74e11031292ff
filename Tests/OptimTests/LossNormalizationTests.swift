import Foundation
import Parallel
import Support
import Tensor
import Testing

@testable import Optim

/// A row of the stored cases: tokens, labels before the shift, weights.
private struct Row: Sendable {
  let tokens: [Int]
  let labels: [Int]
  let weights: [Float]?
  let sum: Double
  let count: Int

  init(_ row: JSONValue) {
    tokens = row["tokens"]?.array?.compactMap(\.int) ?? []
    labels = row["labels"]?.array?.compactMap(\.int) ?? []
    weights = row["weights"]?.array?.compactMap(\.double).map { Float($0) }
    sum = row["sum"]?.double ?? .nan
    count = row["count"]?.int ?? -1
  }

  /// Σ of token losses and the gradients of it, for logits = out · emb[token].
  func backward(_ emb: [Float], _ out: [Float], dft: Bool) -> (Double, [Double], [Double]) {
    let (h, v) = (4, out.count / 4)
    var loss = 0.0
    var dEmb = [Double](repeating: 0, count: emb.count)
    var dOut = [Double](repeating: 0, count: out.count)
    for t in tokens.indices {
      let label = labels[(t + 1) % labels.count]
      guard label != -100 else { continue }
      let x = (0..<h).map { Double(emb[tokens[t] * h + $0]) }
      let z = (0..<v).map { o in (0..<h).reduce(0.0) { $0 + Double(out[o * h + $1]) * x[$1] } }
      let m = z.max() ?? 0
      let e = z.map { exp($0 - m) }
      let total = e.reduce(0, +)
      let token = log(total) - (z[label] - m)
      var weight = weights.map { Double($0[(t + 1) % $0.count]) } ?? 1
      if dft { weight *= exp(-token) }
      loss += weight * token
      for o in 0..<v {
        let g = weight * (e[o] / total - (o == label ? 1 : 0))
        for i in 0..<h {
          dOut[o * h + i] += g * x[i]
          dEmb[tokens[t] * h + i] += g * Double(out[o * h + i])
        }
      }
    }
    return (loss, dEmb, dOut)
  }
}

@Suite struct LossNormalizationTests {
  @Test("Stored cases on 1 to 4 ranks: gradients, counts and reported loss are the reference's")
  func storedCases() throws {
    let cases = try #require(Reference.json("loss")["cases"]?.array)
    let stored = try Reference.tensors("loss")
    let (emb, out) = (try stored.floats("emb"), try stored.floats("out"))
    #expect(cases.count == 14)
    for (i, row) in cases.enumerated() {
      let rows = try #require(row["rows"]?.array).map { ($0.array ?? []).map(Row.init) }
      let mode: LossNormalization =
        row["per_token"]?.bool == true ? .perToken : .perMicroBatch
      let dft = row["dft"]?.bool == true
      let ranks = try ThreadWorld.run(ranks: rows.count) { world in
        try train(rows[world.rank], emb, out, mode, dft: dft, world)
      }
      for rank in ranks {
        #expect(
          try largestError(rank.emb, stored.floats("\(i).grad_emb"), floor: 1) < 1e-6, "case \(i)")
        #expect(
          try largestError(rank.out, stored.floats("\(i).grad_out"), floor: 1) < 1e-6, "case \(i)")
        #expect(rank.tokens == row["tokens_total"]?.int)
        let reported = row["reported_lm_loss"]?.double ?? 0
        #expect(abs(rank.loss - reported) <= 1e-5 * abs(reported))
      }
    }
  }

  private struct Trained: Sendable {
    var emb: [Float]
    var out: [Float]
    var tokens: Int
    var loss: Double
  }

  private func train(
    _ rows: [Row], _ emb: [Float], _ out: [Float], _ mode: LossNormalization, dft: Bool,
    _ world: any Communicator
  ) throws -> Trained {
    let engine = try Engine()
    let parameters = [
      try Parameter("emb", .whole([emb.count / 4, 4]), .float32, on: engine),
      try Parameter("out", .whole([out.count / 4, 4]), .float32, on: engine),
    ]
    var options = OptimizerOptions()
    options.isDistributed = false
    let optimizer = try DistributedOptimizer(
      parameters.map { OptimizedParameter($0) },
      groups: OptimizerGroups(dataParallel: world, expertDataParallel: world, world: world),
      options: options, engine: engine)
    let all = try LossNormalization.globalTokens(rows.reduce(0) { $0 + $1.count }, over: world)
    var tally = LossTally()
    optimizer.beginStep(microBatches: rows.count)
    for (m, row) in rows.enumerated() {
      try optimizer.beginMicroBatch(m)
      let (sum, dEmb, dOut) = row.backward(emb, out, dft: dft)
      #expect(abs(sum - row.sum) <= 1e-5 * abs(row.sum))
      let seed = mode.seed(
        tokens: row.count, allTokens: all, microBatches: rows.count, dataParallel: world.size)
      for (parameter, gradient) in zip(parameters, [dEmb, dOut]) {
        guard let slot = try parameter.gradientSlot() else { continue }
        for (k, g) in gradient.enumerated() {
          slot.tensor.floats[k] = (slot.adds ? slot.tensor.floats[k] : 0) + Float(g * seed)
        }
      }
      optimizer.endMicroBatch(m)
      tally.add(sum: sum, tokens: row.count)
    }
    try optimizer.reduceGradients()
    let total = try tally.total(over: world)
    return Trained(
      emb: parameters[0].gradient?.values ?? [], out: parameters[1].gradient?.values ?? [],
      tokens: total.tokens, loss: total.mean)
  }

  @Test("The reported loss has the same bits for every data-parallel size")
  func tallyOrder() throws {
    let losses = (0..<8).map { 1 / Double($0 + 3) }
    var sums: [Double] = []
    for size in [1, 2, 4, 8] {
      sums += try ThreadWorld.run(ranks: size) { world in
        var tally = LossTally()
        for m in 0..<8 / size { tally.add(sum: losses[m * size + world.rank], tokens: 1) }
        return try tally.total(over: world).sum
      }
    }
    #expect(Set(sums).count == 1)
  }

  @Test("Trained and right tokens of all ranks are counted; their ratio is the accuracy")
  func accuracy() throws {
    let totals = try ThreadWorld.run(ranks: 2) { world in
      var tally = LossTally()
      tally.add(sum: 1, tokens: 3, right: world.rank)
      tally.add(sum: 1, tokens: 5, right: 2)
      return try tally.total(over: world)
    }
    for total in totals { #expect(total.accuracy == 5.0 / 16) }
    #expect(LossTally.Total().accuracy == nil)
  }

  @Test("Nothing to train on gives seed 0 and loss 0, not NaN")
  func nothing() {
    for mode in [LossNormalization.perToken, .perMicroBatch] {
      #expect(mode.seed(tokens: 0, allTokens: 0, microBatches: 2, dataParallel: 2) == 0)
    }
    #expect(LossTally.Total().mean == 0)
  }
}
