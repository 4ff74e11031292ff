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
  /// Ids that the stored run never chose: those around and instead of pictures.
  let suppressed: [Int32]

  /// Most that a probability may differ in fp32.
  static let probabilityTolerance = 1e-5

  func run(_ golden: GoldenTensors, _ report: inout ParityReport) throws(Fault) {
    let prompt = try golden.int32("input_ids")
    let expected = try golden.integers("new_tokens")
    let media = try self.media(prompt, golden)
    let alone = try generate(prompt, media, count: expected.count, beside: 0)
    report.compare("generate", "new_tokens", alone.tokens, expected, informs: isBF16)
    report.compare(
      "generate", "chosen_prob", alone.probabilities, try golden.floats("chosen_prob"),
      Tolerance(relative: isBF16 ? 5e-2 : 0, absolute: isBF16 ? 0 : Self.probabilityTolerance),
      informs: isBF16)
    let batched = try generate(prompt, media, count: expected.count, beside: 3)
    report.compare("generate", "new_tokens in a batch", batched.tokens, alone.tokens)
    report.compare(
      "generate", "chosen_prob in a batch", batched.probabilities, alone.probabilities, .exact)
    if golden.has("logits") {
      report.compare(
        "generate", "logits", try logits(prompt, media, alone.tokens, expected.count),
        try golden.floats("logits"), Tolerance(relative: isBF16 ? 2e-2 : 1e-5), informs: isBF16)
    }
  }

  private struct Outcome {
    var tokens: [Int] = []
    var probabilities: [Float] = []
  }

  /// - Parameter beside: sequences of other lengths that run at the same time.
  private func generate(
    _ prompt: [Int32], _ media: GenerationMedia?, count: Int, beside: Int
  ) throws(Fault) -> Outcome {
    let loop = GenerationLoop(
      model: rig.model, setting: setting, maxBatch: 1 + beside,
      maxRows: beside > 0 ? 7 : 512, prefixBytes: 0, tokenBytes: { _ in [] })
    for other in 0..<beside {
      loop.submit(job(-1 - other, text(prompt, 3 + 2 * other), count + 3))
    }
    var own = job(0, prompt, count)
    own.media = media
    loop.submit(own)
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
    job.suppressed = suppressed
    return job
  }

  /// The beginning of a prompt with nothing for a tower in it.
  private func text(_ prompt: [Int32], _ count: Int) -> [Int32] {
    Array(prompt.filter { rig.config.vision?.isPlaceholder($0) != true }.prefix(count))
  }

  private func media(_ prompt: [Int32], _ golden: GoldenTensors) throws(Fault) -> GenerationMedia? {
    guard let config = rig.config.vision,
      let input = try GoldenVision(golden: golden, config: config, engine: rig.engine).input(
        prompt, prefix: "")
    else { return nil }
    let axes = try AxisPositions(
      ids: prompt, grids: input.grids, documentStarts: [0, Int32(prompt.count)], config: config)
    return GenerationMedia(grids: input.grids, pixels: input.pixels.values, axes: axes)
  }

  /// The logits before each token, by passes of the model itself.
  private func logits(
    _ prompt: [Int32], _ media: GenerationMedia?, _ tokens: [Int], _ count: Int
  ) throws(Fault) -> [Float] {
    let cache = rig.model.text.newCache()
    var all: [Float] = []
    var next = prompt
    for i in 0..<count {
      let places = cache.count..<cache.count + next.count
      let isFirst = i == 0
      let after = AxisPositions(text: places.map { Int32($0) + (media?.delta ?? 0) })
      let axes = media.map { isFirst ? $0.axes : after }
      let pictures = isFirst ? media.map { [$0] } ?? [] : []
      let logits = try rig.model.nextLogits(
        GenerationInput(
          ids: next, positions: places.map { Int32($0) }, axes: axes,
          vision: try VisionInput(pictures, on: rig.engine),
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
