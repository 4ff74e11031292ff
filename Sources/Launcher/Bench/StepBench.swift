import DataPipeline
import Foundation
import Model
import Optim
import Parallel
import Support
import Tensor

/// Whole training steps of a model with random weights made from its `config.json`.
struct StepBench {
  let bench: BenchContext
  private var options: BenchOptions { bench.options }
  private var engine: Engine { bench.engine }
  init(_ bench: BenchContext) { self.bench = bench }

  /// - Throws: `OPT-103` without a model.
  func run() throws(Fault) {
    guard let folder = options.model.model else {
      throw Fault(
        .optionsDisagree, "a step needs a model", at: .flag("model"),
        expected: "a folder with config.json")
    }
    let config = try QwenConfig(folder: folder)
    let (mesh, groups) = try RankGroups.make(bench.world, MeshShape(options.parallel), config)
    let dtype = options.model.torchDType?.dtype ?? .bfloat16
    try options.run.requireMultiplied(dtype)
    let model = try QwenModel(
      config, layout: groups.layout, dtype: dtype, router: RouterOptions(config),
      adapters: try adapters(config), on: engine)
    try model.initialize(seed: 1)
    try model.initializeAdapters(seed: 1)
    let optimizer = try DistributedOptimizer(
      OptimizedParameter.trainable(
        model.parameters, tensorRank: groups.tp.rank, expertTensorRank: groups.etp.rank),
      groups: OptimizerGroups(
        dataParallel: groups.dp, expertDataParallel: groups.edp, world: bench.world),
      options: Self.states, engine: engine)
    let row = try row(config, groups)
    var result = StepResults()
    for step in 0...options.bench.steps {
      let (wall, cpu) = (Clock.monotonicSeconds(), Clock.processorSeconds())
      if step == 1 { result.allocations = engine.systemAllocations }
      // The first step pays for memory that later ones use again.
      result.profile.start()
      result.loss = try self.step(model, optimizer, row, groups, step, result.profile)
      if step > 0 {
        result.walls.append(Clock.monotonicSeconds() - wall)
        result.cpus.append(Clock.processorSeconds() - cpu)
      } else {
        result.profile = StepProfile()
      }
    }
    result.allocations = engine.systemAllocations - result.allocations
    try say(config, mesh, dtype, result)
  }

  /// On every linear map and router, each published projection for itself.
  private func adapters(_ config: QwenConfig) throws(Fault) -> AdapterPlan? {
    guard let rank = options.bench.loraRank else { return nil }
    var choice = AdapterChoice()
    choice.rank = rank
    choice.form = .published
    choice.targets = config.experts == nil ? ["all-linear"] : ["all-linear", "all-router"]
    return try choice.plan(for: NameMap(config))
  }

  /// AdamW with fp32 moments and exact fp32 masters, bf16 weights being their upper half
  /// (`use_precision_aware_optimizer`): 16 bytes a parameter.
  private static var states: OptimizerOptions {
    var options = OptimizerOptions()
    options.isPrecisionAware = true
    return options
  }

  /// Random tokens; labels at the first `trained` part of every 64.
  private func row(_ config: QwenConfig, _ groups: RankGroups) throws(Fault) -> ModelRow {
    let t = options.bench.sequenceLength * options.bench.microBatchSize
    let random = CounterRandom(seed: 7, purpose: "bench")
    let ids = (0..<t).map { Int32(random.uniform($0) * Double(config.vocabularySize)) }
    let labels = ids.enumerated().map { i, id in
      Double(i % 64) < options.bench.trained * 64 && i > 0 ? id : -100
    }
    let s = Int32(options.bench.sequenceLength)
    let batch = PackedBatch(
      inputIDs: ids, labels: labels, lossScale: nil, positions: (0..<Int32(t)).map { $0 % s },
      cuSeqlens: (0...options.bench.microBatchSize).map { Int32($0) * s },
      channels: [String?](repeating: nil, count: options.bench.microBatchSize),
      sampleCount: options.bench.microBatchSize)
    return try ModelRow(
      batch,
      multiple: ModelRow.multiple(
        tp: groups.tp.size, sequenceParallel: options.parallel.sequenceParallel), padID: 0,
      vocabulary: config.vocabularySize, on: engine)
  }

  /// - Returns: the loss of the row.
  private func step(
    _ model: QwenModel, _ optimizer: DistributedOptimizer, _ row: ModelRow, _ groups: RankGroups,
    _ number: Int, _ profile: StepProfile
  ) throws(Fault) -> Double {
    var seeds = LossSeeds()
    seeds.token = 1 / Float(max(1, row.trainedTokens * groups.dp.size))
    let setting = Setting(
      engine: engine, groups: groups.model,
      sequenceParallel: options.parallel.sequenceParallel, layout: row.layout, seeds: seeds)
    optimizer.beginStep(microBatches: 1)
    try optimizer.beginMicroBatch(0)
    let tape = Tape(observer: profile)
    let result = try model.loss(
      row.input, plan: RecomputePlan(), in: Context(tape: tape, setting: setting))
    try tape.seed(result.loss, with: try Tensor([1], [1], on: engine))
    try tape.backward()
    optimizer.endMicroBatch(0)
    profile.note("gradient_buffers")
    _ = try optimizer.step(
      StepInput(iteration: number + 1, learningRate: 1e-5, weightDecay: 0.1, clip: 1))
    profile.note("optimizer")
    return Double(result.loss.tensor.floats[0]) / Double(max(1, row.trainedTokens))
  }

  private func say(
    _ config: QwenConfig, _ mesh: ProcessMesh, _ dtype: DType, _ result: StepResults
  ) throws(Fault) {
    let flags = options.bench
    let tokens = flags.sequenceLength * flags.microBatchSize * mesh.layout.dp
    let operations = config.trainingFlops(
      tokens: tokens,
      documents: [Int](
        repeating: flags.sequenceLength, count: flags.microBatchSize * mesh.layout.dp),
      trained: flags.trained)
    let timing = Timing(bench.countsProcessorTime ? result.cpus : result.walls)
    let walls = Timing(result.walls)
    let cpus = Timing(result.cpus)
    let peak = bench.peak(dtype == .float32 ? .float32 : .bfloat16)
    // Ranks of one node share its cores: each has the peak of its own threads.
    let share = operations / timing.median / (peak * Double(bench.world.size))
    let shape = JSONObject([
      ("model", .string(options.model.model ?? "")), ("layout", .string("\(mesh.layout)")),
      ("seq", JSONValue(flags.sequenceLength)), ("micro_batch", JSONValue(flags.microBatchSize)),
      ("trained", JSONValue(flags.trained)),
      ("lora_rank", flags.loraRank.map { JSONValue($0) } ?? .null),
    ])
    let split = JSONObject(
      result.profile.shares.map { ($0.name, JSONValue(bench.rounded($0.share))) })
    try bench.say(
      bench.line("step", "training_step", dtype, shape, timing) + [
        ("steps", JSONValue(result.walls.count)), ("loss", JSONValue(result.loss)),
        ("wall_seconds_per_step", JSONValue(walls.median)),
        ("cpu_seconds_per_step", JSONValue(cpus.median)),
        ("tokens_per_second", JSONValue(Double(tokens) / timing.median)),
        ("model_gflop", JSONValue(operations / 1e9)),
        ("GF/s", JSONValue(bench.rounded(operations / timing.median / 1e9))),
        ("share_of_peak", JSONValue(bench.rounded(share))),
        ("mfu", JSONValue(bench.rounded(share))),
        ("peak_rss_bytes", JSONValue(ProcessMemory.peakBytes)),
        ("allocations_after_first_step", JSONValue(result.allocations)),
        ("time_split", .object(split)),
      ])
  }
}

/// What the steps gave.
private struct StepResults {
  var walls: [Double] = []
  var cpus: [Double] = []
  var loss = 0.0
  /// Times memory was asked from the system in the steps that count.
  var allocations = 0
  var profile = StepProfile()
}
