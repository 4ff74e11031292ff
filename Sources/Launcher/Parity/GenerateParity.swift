import Foundation
import Model
import Parallel
import Support
import Tensor

/// Greedy continuation with kept keys and values against `generate.safetensors`: tokens equal, logits
/// and probabilities close; alone, and beside other sequences in one batch, with equal bits.
struct GenerateParity {
  let rig: ParityRig
  let isBF16: Bool

  /// Most that a probability may differ in fp32.
  static let probabilityTolerance = 1e-5

  func run(_ golden: GoldenTensors, _ report: inout ParityReport) throws(Fault) {
    let prompt = try golden.int32("input_ids")
    let expected = try golden.integers("new_tokens")
    let alone = try generate(prompt, count: expected.count, beside: 0)
    report.compare("generate", "new_tokens", alone.tokens, expected, informs: isBF16)
    report.compare(
      "generate", "chosen_prob", alone.probabilities, try golden.floats("chosen_prob"),
      Tolerance(relative: isBF16 ? 5e-2 : 0, absolute: isBF16 ? 0 : Self.probabilityTolerance),
      informs: isBF16)
    let batched = try generate(prompt, count: expected.count, beside: 3)
    report.compare("generate", "new_tokens in a batch", batched.tokens, alone.tokens)
    report.compare(
      "generate", "chosen_prob in a batch", batched.probabilities, alone.probabilities, .exact)
    if golden.has("logits") {
      report.compare(
        "generate", "logits", try logits(prompt, alone.tokens, expected.count),
        try golden.floats("logits"), Tolerance(relative: isBF16 ? 2e-2 : 1e-5), informs: isBF16)
    }
  }

  private struct Outcome {
    var tokens: [Int] = []
    var probabilities: [Float] = []
  }

  /// - Parameter beside: sequences of other lengths that run at the same time.
  private func generate(_ prompt: [Int32], count: Int, beside: Int) throws(Fault) -> Outcome {
    let loop = GenerationLoop(
      model: rig.model.text, setting: setting, maxBatch: 1 + beside,
      maxRows: beside > 0 ? 7 : 512, prefixBytes: 0, tokenBytes: { _ in [] })
    for other in 0..<beside {
      loop.submit(job(-1 - other, Array(prompt.prefix(3 + 2 * other)), count + 3))
    }
    loop.submit(job(0, prompt, count))
    var outcome = Outcome()
    while !loop.isIdle {
      for event in try loop.step() where event.job == 0 {
        guard let token = event.token else { continue }
        outcome.tokens.append(Int(token.token))
        outcome.probabilities.append(exp(token.probability?.logProbability ?? .nan))
      }
    }
    return outcome
  }

  private func job(_ id: Int, _ prompt: [Int32], _ count: Int) -> GenerationJob {
    var job = GenerationJob(id: id, prompt: prompt, maxNewTokens: count)
    job.wantsProbabilities = true
    return job
  }

  /// The logits before each token, by passes of the model itself.
  private func logits(_ prompt: [Int32], _ tokens: [Int], _ count: Int) throws(Fault) -> [Float] {
    let cache = rig.model.text.newCache()
    var all: [Float] = []
    var next = prompt
    for i in 0..<count {
      let positions = (cache.count..<cache.count + next.count).map { Int32($0) }
      let logits = try rig.model.text.nextLogits(
        GenerationInput(
          ids: next, positions: positions,
          sequences: CachedRows([.init(cache: cache, rows: next.count)]),
          wanted: [Int32(next.count - 1)]), setting)
      all += logits.values
      next = [Int32(tokens[min(i, tokens.count - 1)])]
    }
    return all
  }

  private var setting: GenerationSetting {
    GenerationSetting(
      engine: rig.engine, groups: rig.groups.model,
      rowSharers: rig.groups.rowSharers(hasExperts: rig.config.experts != nil))
  }
}

extension RankGroups {
  /// Data-parallel peers that hold other experts of the same model and, in generation, the same rows.
  func rowSharers(hasExperts: Bool) -> (any Communicator)? {
    hasExperts && ep.size * etp.size > tp.size ? dp : nil
  }
}
