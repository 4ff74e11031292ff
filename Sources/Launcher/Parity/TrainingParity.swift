import DataPipeline
import Model
import Optim
import Parallel
import Support
import Tensor

/// One run of `train.json`: 20 updates from the stored weights on the stored rows.
struct TrainingParity {
  let folder: String
  let curves: GoldenCurves
  let run: GoldenCurves.Run
  let groups: RankGroups
  let engine: Engine
  let sequenceParallel: Bool
  /// Set when adapters are trained instead of the model.
  var adapted: Adapted?

  struct Adapted {
    let rig: () throws(Fault) -> ParityRig
    /// Values of the trained tensors under the golden's names.
    let values: (ParityRig, (Parameter) throws(Fault) -> [Float]) throws(Fault) -> [String: [Float]]
  }

  /// Micro-batches of an update.
  static let microBatches = 2

  func run(_ report: inout ParityReport) throws(Fault) -> GoldenCurves.Result {
    let coefficient = run.auxiliary == "megatron" ? Float(curves.auxCoefficient) : 0
    let rig: ParityRig
    if let adapted {
      rig = try adapted.rig()
    } else {
      rig = try ParityRig(
        folder: folder, dtype: run.isBF16 ? .bfloat16 : .float32, groups: groups, engine: engine,
        sequenceParallel: sequenceParallel, adjust: { $0.auxLossCoefficient = coefficient })
    }
    freeze(rig)
    let rows = try rows(rig)
    let optimizer = try makeOptimizer(rig)
    var result = GoldenCurves.Result()
    for step in 0..<min(curves.steps, max(run.steps.count, 1)) {
      let pair = (0..<Self.microBatches).map {
        rows[(Self.microBatches * step + $0) % rows.count]
      }
      result.steps.append(try update(step, pair, rig, optimizer))
    }
    result.final = try final(rig)
    try compare(result, &report)
    return result
  }

  private func final(_ rig: ParityRig) throws(Fault) -> [(name: String, values: [Float])] {
    if let adapted {
      let all = try adapted.values(rig) { $0.tensor.values }
      return all.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }
    let all = try rig.published { (parameter) throws(Fault) in parameter.tensor.values }
    return rig.map.published.map { ($0.name, all[$0.name] ?? []) }
  }

  /// By published names.
  private func freeze(_ rig: ParityRig) {
    guard adapted == nil else { return }
    for parameter in rig.model.parameters {
      let published = rig.map[parameter.name]?.pieces.map(\.published) ?? []
      parameter.isTrainable = !published.contains { name in
        run.frozenPrefixes.contains { name.hasPrefix($0) }
      }
    }
  }

  private func rows(_ rig: ParityRig) throws(Fault) -> [ModelRow] {
    guard let golden = try GoldenTensors(curves.folder, "train.safetensors") else {
      throw Fault(.missingFile, "train.json without train.safetensors", at: .file(curves.folder))
    }
    var rows: [ModelRow] = []
    while golden.has("seq\(rows.count).input_ids") {
      rows.append(try rig.row(golden, prefix: "seq\(rows.count)."))
    }
    return rows
  }

  private func makeOptimizer(_ rig: ParityRig) throws(Fault) -> DistributedOptimizer {
    var options = OptimizerOptions()
    options.rule = .adamW(beta1: curves.betas.0, beta2: curves.betas.1, epsilon: curves.epsilon)
    return try DistributedOptimizer(
      OptimizedParameter.trainable(
        rig.model.parameters, tensorRank: groups.tp.rank, expertTensorRank: groups.etp.rank),
      groups: OptimizerGroups(
        dataParallel: groups.dp, expertDataParallel: groups.edp, world: groups.world),
      options: options, engine: engine)
  }

  /// Micro-batches are dealt out to the data-parallel ranks; with more ranks than micro-batches
  /// several run the same one, each with its share.
  private func update(
    _ step: Int, _ pair: [ModelRow], _ rig: ParityRig, _ optimizer: DistributedOptimizer
  ) throws(Fault) -> (loss: Double, norm: Double, lr: Double) {
    let dp = groups.dp.size
    let lanes = min(dp, Self.microBatches)
    guard dp % lanes == 0 else {
      throw Fault(
        .layoutRefused, "two micro-batches cannot be shared by \(dp) data-parallel ranks",
        expected: "1, 2 or an even number")
    }
    let own = pair.indices.filter { $0 % lanes == groups.dp.rank % lanes }
    let share = Double(lanes) / Double(dp)
    let trained = pair.reduce(0) { $0 + $1.trainedTokens }
    optimizer.beginStep(microBatches: own.count)
    var sums: [Float] = pair.map { _ in 0 }
    for (m, index) in own.enumerated() {
      let row = pair[index]
      var seeds = LossSeeds()
      let weight = run.isPerToken ? 1 / Double(trained) : 1 / Double(2 * row.trainedTokens)
      seeds.token = Float(weight * share)
      seeds.auxiliaryTimesTokens = run.isPerToken
      seeds.auxiliary = Float((run.isPerToken ? 1 / Double(trained) : 0.5) * share)
      try optimizer.beginMicroBatch(m)
      let tape = Tape()
      let context = Context(tape: tape, setting: rig.setting(row, seeds: seeds))
      let loss = try rig.model.loss(row.input, plan: RecomputePlan(), in: context)
      try tape.seed(loss.loss, with: try Tensor([1], [1], on: engine))
      try tape.backward()
      optimizer.endMicroBatch(m)
      if groups.dp.rank < lanes { sums[index] = loss.perToken.reduce(0, +) }
    }
    try groups.dp.sum(&sums)
    let lr = curves.rate(step, scale: run.lrScale)
    let outcome = try optimizer.step(
      StepInput(
        iteration: step + 1, learningRate: lr, weightDecay: curves.weightDecay, clip: curves.clip))
    let means = zip(sums, pair).map { Double($0) / Double($1.trainedTokens) }
    let loss =
      run.isPerToken
      ? sums.reduce(0.0) { $0 + Double($1) } / Double(trained) : means.reduce(0, +) / 2
    return (loss, outcome.gradientNorm, lr)
  }

  private func compare(_ result: GoldenCurves.Result, _ report: inout ParityReport) throws(Fault) {
    let file = "train \(run.name)"
    let expected = run.steps.map {
      ($0["loss"]?.double ?? .nan, $0["grad_norm"]?.double ?? .nan, $0["lr"]?.double ?? .nan)
    }
    func largest(_ pick: (Int) -> Double) -> Double {
      expected.indices.map(pick).reduce(0) { $1.isNaN ? .infinity : max($0, $1) }
    }
    let noise = CurveNoise(curves.noise[run.name])
    // A step that another order of additions moves may differ by ten times as much.
    let losses = largest { step in
      max(0, abs(result.steps[step].loss - expected[step].0) - max(0, noise.loss(step) - 2e-5))
    }
    let mean =
      expected.indices.map { abs(result.steps[$0].loss - expected[$0].0) }.reduce(0, +)
      / Double(max(1, expected.count))
    let ratios = expected.indices.map {
      abs(result.steps[$0].norm - expected[$0].1) / expected[$0].1
    }
    let rates = largest { abs(result.steps[$0].lr - expected[$0].2) }
    report.compare(file, "lr", rates, 0, absolute: 1e-12)
    var band = Band(run, curves)
    band.widen(noise)
    report.compare(file, "loss, largest difference", losses, 0, absolute: band.loss)
    report.compare(file, "loss, mean difference", mean, 0, absolute: band.mean)
    report.compare(
      file, "grad_norm, largest ratio", largest { ratios[$0] }, 0, absolute: band.norm)
    report.compare(
      file, "grad_norm, mean ratio", ratios.reduce(0, +) / Double(max(1, ratios.count)), 0,
      absolute: band.meanNorm)
    guard let final = run.final else { return }
    for (name, values) in result.final {
      guard let stored = final[name] else { continue }
      let summary = TensorSummary(values)
      report.compare(
        file, "final \(name) l2", summary.l2, stored["l2"]?.double ?? .nan, absolute: 0,
        relative: band.final)
    }
  }

  /// What another attention kernel changes in a run, where the file says it.
  private struct CurveNoise {
    private let losses: [Double]
    let norm: Double

    init(_ stored: JSONValue?) {
      losses = stored?["loss_abs_per_step"]?.array?.map { $0.double ?? 0 } ?? []
      norm = stored?["grad_norm_max_rel"]?.double ?? 0
    }

    /// Ten times the largest difference so far: what a step has moved stays in the weights.
    func loss(_ step: Int) -> Double { 10 * (losses.prefix(step + 1).max() ?? 0) }
    var mean: Double { 10 * losses.reduce(0, +) / Double(max(1, losses.count)) }
    var largest: Double { losses.max() ?? 0 }
  }

  /// What a run may differ by: rounding in fp32, what another attention kernel does in bf16.
  ///
  /// A mixture in bf16 has steps whose gradient hangs on a few choices: their norm may lie far off
  /// where the mean over the steps does not. (The reference from weights moved by up to half a
  /// rounding: largest ratio 0.11 to 0.21, mean 0.03 to 0.05.)
  private struct Band {
    var loss = 2e-5
    var mean = 1e-5
    var norm = 1e-4
    var meanNorm = 1e-4
    var final = 1e-5

    /// By what is known of a run that small differences move far.
    mutating func widen(_ noise: CurveNoise) {
      mean = max(mean, noise.mean)
      norm = max(norm, 2 * noise.norm)
      final = max(final, noise.largest)
    }

    init(_ run: GoldenCurves.Run, _ curves: GoldenCurves) {
      guard run.isBF16 else { return }
      let gentle = run.name.hasSuffix("_gentle")
      let isMoE = curves.isMixture
      let noise = curves.bands[gentle ? "bf16_kernel_noise_gentle" : "bf16_kernel_noise"]
      func stored(_ name: String, _ least: Double) -> Double {
        max(2 * (noise?[name]?.double ?? 0), least)
      }
      loss = stored("loss_max_abs", gentle ? (isMoE ? 0.07 : 0.014) : (isMoE ? 0.22 : 0.04))
      mean = stored("loss_mean_abs", gentle ? (isMoE ? 0.026 : 0.004) : (isMoE ? 0.07 : 0.012))
      norm = stored("grad_norm_max_rel", isMoE ? (gentle ? 0.1 : 0.5) : 0.03)
      meanNorm = isMoE ? (gentle ? 0.04 : 0.07) : 0.015
      final = isMoE ? 2e-2 : 5e-3
    }
  }
}
