import Foundation
import Model
import Parallel
import Support
import Tensor

/// Speed of generation of a model with random weights made from its `config.json`: prompts of several
/// lengths, then decoding at several batch sizes.
///
/// prefill: tokens per second until the logits after the prompt are there, batch 1.
/// decode: seconds of one step over all rows, after a prompt of `context` tokens; at batch 1 beside
/// the rate the weights are read at.
struct GenerateBench {
  let bench: BenchContext
  private var options: BenchOptions { bench.options }
  init(_ bench: BenchContext) { self.bench = bench }

  func run() throws(Fault) {
    guard let folder = options.model.model else {
      throw Fault(.wrongOptions, "generation needs a model", at: .flag("model"))
    }
    let config = try QwenConfig(folder: folder)
    let (_, groups) = try RankGroups.make(bench.world, MeshShape(options.parallel), config)
    let engine = bench.engine
    for dtype in types {
      let model = try QwenModel(
        config, layout: groups.layout, dtype: dtype, router: RouterOptions(config), on: engine)
      try model.initialize(seed: 1)
      try model.text.prepareForGeneration()
      let measured = ModelBench(
        model: model,
        setting: GenerationSetting(
          engine: engine, groups: groups.model,
          rowSharers: groups.rowSharers(hasExperts: config.experts != nil)),
        bench: bench,
        name: folder.split(separator: "/").last.map(String.init) ?? folder)
      for prompt in sizes(\.prompts) where prompt <= config.maxPositions {
        try measured.prefill(prompt)
      }
      for batch in sizes(\.batches) {
        for context in sizes(\.contexts) where context + new <= config.maxPositions {
          try measured.decode(batch, context: context, new: new)
        }
      }
    }
  }

  private var new: Int { options.generate.newTokens }
  private func sizes(_ path: KeyPath<GenerateBenchFlags, [String]>) -> [Int] {
    GenerateBenchFlags.numbers(options.generate[keyPath: path])
  }

  private var types: [DType] {
    options.model.torchDType.map { [$0 == .float32 ? .float32 : .bfloat16] }
      ?? [.bfloat16, .float32]
  }
}

/// The measurements of one model.
private struct ModelBench {
  let model: QwenModel
  let setting: GenerationSetting
  let bench: BenchContext
  let name: String

  private func tokens(_ count: Int, _ seed: Int) -> [Int32] {
    let random = CounterRandom(seed: UInt64(seed), purpose: "bench")
    return (0..<count).map {
      Int32(random.uniform($0) * Double(model.config.vocabularySize))
    }
  }

  /// Feeds a prompt in the pieces of the generation loop.
  private func feed(_ prompt: [Int32], _ cache: KeyValueCache) throws(Fault) {
    var start = 0
    while start < prompt.count {
      let rows = min(512, prompt.count - start)
      let isLast = start + rows == prompt.count
      _ = try model.nextLogits(
        GenerationInput(
          ids: Array(prompt[start..<start + rows]),
          positions: (start..<start + rows).map { Int32($0) },
          sequences: CachedRows([.init(cache: cache, rows: rows)]),
          wanted: isLast ? [Int32(rows - 1)] : []), setting)
      start += rows
    }
  }

  private struct Times {
    var walls: [Double] = []
    var cpus: [Double] = []
    var wall: Double { walls.sorted()[walls.count / 2] }
    var cpu: Double { cpus.sorted()[cpus.count / 2] }
  }

  private func time(_ body: (Bool) throws(Fault) -> (wall: Double, cpu: Double)) throws(Fault)
    -> Times
  {
    var times = Times()
    for i in 0...bench.options.bench.repeats {
      let (wall, cpu) = try body(i == 0)
      // The first run pays for memory that later ones use again.
      if i > 0 {
        times.walls.append(wall)
        times.cpus.append(cpu)
      }
    }
    return times
  }

  private func clock(_ body: () throws(Fault) -> Void) throws(Fault) -> (Double, Double) {
    let (wall, cpu) = (Clock.monotonicSeconds(), ProcessMemory.cpuSeconds)
    try body()
    return (Clock.monotonicSeconds() - wall, ProcessMemory.cpuSeconds - cpu)
  }

  func prefill(_ length: Int) throws(Fault) {
    let prompt = tokens(length, 1)
    let times = try time { _ throws(Fault) in
      let cache = model.text.newCache()
      return try clock { () throws(Fault) in try feed(prompt, cache) }
    }
    try say(
      "prefill", 1, length, times,
      [
        ("tokens_per_second", JSONValue(Double(length) / times.wall)),
        ("tokens_per_cpu_second", JSONValue(Double(length) / times.cpu)),
      ])
  }

  func decode(_ batch: Int, context: Int, new: Int) throws(Fault) {
    let kept = (0..<batch).map { _ in model.text.newCache() }
    for (i, cache) in kept.enumerated() { try feed(tokens(context, 2 + i), cache) }
    let times = try time { isWarm throws(Fault) in
      let caches = kept.map { $0.fork(prefix: context) }
      let steps = isWarm ? 2 : new
      let (wall, cpu) = try clock { () throws(Fault) in
        for step in 0..<steps { try self.step(caches, at: context + step) }
      }
      return (wall / Double(steps), cpu / Double(steps))
    }
    let bytes = Double(bytesPerStep)
    try say(
      "decode", batch, context, times,
      [
        ("tokens_per_second", JSONValue(Double(batch) / times.wall)),
        ("tokens_per_cpu_second", JSONValue(Double(batch) / times.cpu)),
      ]
        + (batch == 1
          ? [
            ("weight_gigabytes", JSONValue(bytes / 1e9)),
            ("read_gigabytes_per_second", JSONValue(bytes / 1e9 / times.wall)),
          ] : []))
  }

  private func step(_ caches: [KeyValueCache], at position: Int) throws(Fault) {
    _ = try model.nextLogits(
      GenerationInput(
        ids: tokens(caches.count, position),
        positions: [Int32](repeating: Int32(position), count: caches.count),
        sequences: CachedRows(caches.map { .init(cache: $0, rows: 1) }),
        wanted: caches.indices.map(Int32.init)), setting)
  }

  /// Weights that a step of one row reads, on all ranks together.
  private var bytesPerStep: Int {
    model.config.activeParameters * model.text.embedding.weight.dtype.size
  }

  private func say(
    _ kind: String, _ batch: Int, _ prompt: Int, _ times: Times,
    _ rest: [(key: String, value: JSONValue)]
  ) throws(Fault) {
    try bench.say(
      [
        ("kind", .string("generate")), ("case", .string(kind)), ("model", .string(name)),
        ("level", .string("\(setting.engine.level)")),
        ("threads", JSONValue(setting.engine.threads)),
        ("dtype", .string(model.text.embedding.weight.dtype.rawValue)), ("batch", JSONValue(batch)),
        ("prompt", JSONValue(prompt)), ("wall_seconds", JSONValue(times.wall)),
        ("cpu_seconds", JSONValue(times.cpu)), ("repeats", JSONValue(times.walls.count)),
      ] + rest + [("peak_rss_bytes", JSONValue(ProcessMemory.peakBytes))])
  }
}
