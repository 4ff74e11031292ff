import DataPipeline
import Foundation
import Model
import Optim
import Parallel
import Support
import Tensor

/// Whole training steps of a model with random weights made from its `config.json`.
struct StepBench {
  let options: BenchOptions
  let world: any Communicator

  func run() throws(Fault) {
    guard let folder = options.model.model else {
      throw Fault(.wrongOptions, "a step needs a model", at: .flag("model"))
    }
    let config = try QwenConfig(folder: folder)
    let (mesh, groups) = try RankGroups.make(world, MeshShape(options.parallel), config)
    let engine = try options.run.engine(options.report.launch)
    let dtype = options.model.torchDType?.dtype ?? .bfloat16
    let model = try QwenText(
      config, layout: groups.layout, dtype: dtype, router: RouterOptions(config), on: engine)
    try model.initialize(seed: 1)
    let optimizer = try DistributedOptimizer(
      OptimizedParameter.trainable(
        model.parameters, tensorRank: groups.tp.rank, expertTensorRank: groups.etp.rank),
      groups: OptimizerGroups(
        dataParallel: groups.dp, expertDataParallel: groups.edp, world: world),
      options: OptimizerOptions(), engine: engine)
    let row = try row(config, groups, engine)
    var walls: [Double] = []
    var cpus: [Double] = []
    for step in 0...options.bench.steps {
      let (wall, cpu) = (Clock.monotonicSeconds(), ProcessMemory.cpuSeconds)
      try self.step(model, optimizer, row, groups, engine, step)
      // The first step pays for memory that later ones use again.
      if step > 0 {
        walls.append(Clock.monotonicSeconds() - wall)
        cpus.append(ProcessMemory.cpuSeconds - cpu)
      }
    }
    if world.rank == 0 { say(config, mesh, engine, dtype, walls.sorted(), cpus.sorted()) }
  }

  /// Random tokens; labels at the first `trained` part of every 64.
  private func row(_ config: QwenConfig, _ groups: RankGroups, _ engine: Engine) throws(Fault)
    -> ModelRow
  {
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

  private func step(
    _ model: QwenText, _ optimizer: DistributedOptimizer, _ row: ModelRow, _ groups: RankGroups,
    _ engine: Engine, _ number: Int
  ) throws(Fault) {
    var seeds = LossSeeds()
    seeds.token = 1 / Float(max(1, row.trainedTokens * groups.dp.size))
    let setting = Setting(
      engine: engine, groups: groups.model,
      sequenceParallel: options.parallel.sequenceParallel, layout: row.layout, seeds: seeds)
    optimizer.beginStep(microBatches: 1)
    try optimizer.beginMicroBatch(0)
    let tape = Tape()
    let result = try model.loss(
      row.input, plan: RecomputePlan(), in: Context(tape: tape, setting: setting))
    try tape.seed(result.loss, with: try Tensor([1], [1], on: engine))
    try tape.backward()
    optimizer.endMicroBatch(0)
    _ = try optimizer.step(
      StepInput(iteration: number + 1, learningRate: 1e-5, weightDecay: 0.1, clip: 1))
  }

  private func say(
    _ config: QwenConfig, _ mesh: ProcessMesh, _ engine: Engine, _ dtype: DType,
    _ walls: [Double], _ cpus: [Double]
  ) {
    let tokens = options.bench.sequenceLength * options.bench.microBatchSize * mesh.layout.dp
    let documents = [Int](
      repeating: options.bench.sequenceLength, count: options.bench.microBatchSize)
    let flops = config.trainingFlops(tokens: tokens, documents: documents)
    let wall = walls[walls.count / 2]
    let cpu = cpus[cpus.count / 2]
    let record = JSONObject([
      ("kind", .string("step")), ("model", .string(options.model.model ?? "")),
      ("layout", .string("\(mesh.layout)")), ("level", .string("\(engine.level)")),
      ("threads", JSONValue(engine.threads)), ("dtype", .string(dtype.rawValue)),
      ("sequence", JSONValue(options.bench.sequenceLength)),
      ("micro_batch", JSONValue(options.bench.microBatchSize)),
      ("trained", JSONValue(options.bench.trained)), ("steps", JSONValue(walls.count)),
      ("wall_seconds_per_step", JSONValue(wall)), ("cpu_seconds_per_step", JSONValue(cpu)),
      ("fastest", JSONValue(walls[0])), ("slowest", JSONValue(walls[walls.count - 1])),
      ("tokens_per_second", JSONValue(Double(tokens) / wall)),
      ("model_gflop", JSONValue(flops / 1e9)),
      ("gflops_per_second", JSONValue(flops / cpu / 1e9)),
      ("peak_rss_bytes", JSONValue(ProcessMemory.peakBytes)),
    ])
    Terminal.write(JSONValue.object(record).write(.python) + "\n", to: .output)
  }
}
