import Checkpoint
import DataPipeline
import Foundation
import Model
import Parallel
import Support
import Tensor

/// `--adapters`: stored results of an adapted model: logits, gradients of the adapter, training
/// curves, merged weights.
struct AdapterParity {
  let folder: String
  let adapter: AdapterFolder
  let golden: String
  /// Folder with the rows that the results belong to.
  let rows: String
  let dtype: DType
  let runs: [String]
  let groups: RankGroups
  let engine: Engine
  let sequenceParallel: Bool
  /// Stored gradients have Megatron's names: one A for a fused matrix.
  let isFused: Bool

  /// - Throws: `FILE-001` when the rows are nowhere.
  init(
    folder: String, adapter path: String, golden: String, dtype: DType, runs: [String],
    groups: RankGroups, engine: Engine, sequenceParallel: Bool
  ) throws(Fault) {
    self.folder = folder
    self.golden = golden
    self.dtype = dtype
    self.runs = runs
    self.groups = groups
    self.engine = engine
    self.sequenceParallel = sequenceParallel
    adapter = try AdapterFolder(path)
    rows = try AdapterParity.rows(golden)
    let grads = try GoldenTensors(golden, "grads.safetensors")
    isFused = grads?.names.contains { $0.contains("decoder.layers.") } ?? false
  }

  /// The folder itself, or that of the model beside the folders of adapters.
  private static func rows(_ golden: String) throws(Fault) -> String {
    var candidates = [golden]
    if let name = try summary(golden)?["model"]?.string {
      candidates.append(golden + "/../../model-outputs/" + name)
      candidates.append(golden + "/../model-outputs/" + name)
    }
    if let found = candidates.first(where: { PathText.exists($0 + "/packed.safetensors") }) {
      return found
    }
    throw Fault(
      .missingFile, "the rows that the results belong to are missing", at: .file(golden),
      expected: candidates.map { $0 + "/packed.safetensors" }.joined(separator: ", or "))
  }

  private static func summary(_ golden: String) throws(Fault) -> JSONValue? {
    let path = golden + "/summary.json"
    guard PathText.exists(path) else { return nil }
    let text = String(decoding: try AtomicFile.read(path), as: UTF8.self)
    do throws(JSONSyntaxError) {
      return try JSONValue.parse(text)
    } catch {
      throw Fault(.badJSON, error.reason, at: .file(path, line: error.line))
    }
  }

  /// - Returns: the report, the same on all ranks.
  func run() throws(Fault) -> ParityReport {
    var report = ParityReport()
    let bounds = ParityBounds(dtype: dtype)
    let rig = try rig()
    if wants("outputs") { try outputs(rig, bounds, &report) }
    if wants("merged") { try merged(bounds, &report) }
    try training(&report)
    return report
  }

  private func wants(_ part: String) -> Bool { runs.isEmpty || runs.contains(part) }

  /// The model with the adapter as it is stored, trainable.
  private func rig() throws(Fault) -> ParityRig {
    let config = try QwenConfig(folder: folder)
    let published = try PublishedAdapter(adapter, NameMap(config), sharesA: isFused)
    var plan = published.plan
    plan.dropout = 0
    return try ParityRig(
      folder: folder, dtype: dtype, groups: groups, engine: engine,
      sequenceParallel: sequenceParallel, adapter: published, plan: plan)
  }

  private func outputs(
    _ rig: ParityRig, _ bounds: ParityBounds, _ report: inout ParityReport
  ) throws(Fault) {
    guard let packed = try GoldenTensors(rows, "packed.safetensors") else { return }
    let row = try rig.row(packed)
    var seeds = LossSeeds()
    seeds.token = 1 / Float(max(1, row.trainedTokens))
    try rig.attachGradients()
    let tape = Tape()
    let context = Context(tape: tape, setting: rig.setting(row, seeds: seeds))
    let result = try rig.model.loss(row.input, plan: RecomputePlan(), in: context)
    try tape.seed(result.loss, with: try Tensor([1], [1], on: engine))
    try tape.backward()
    if let golden = try GoldenTensors(golden, "outputs.safetensors") {
      report.compare(
        "outputs", "logits", try logits(rig, row), try golden.floats("logits"), bounds.logits)
      report.compare(
        "outputs", "token_nll", Array(result.perToken.prefix(row.realTokens)),
        try golden.floats("token_nll"), bounds.activation)
    }
    guard let golden = try GoldenTensors(golden, "grads.safetensors") else { return }
    for parameter in rig.model.tunedParameters { _ = try rig.reducedGradient(parameter) }
    let actual = try named(rig) { (parameter) throws(Fault) in parameter.gradient?.values ?? [] }
    for name in golden.names.sorted() {
      guard let values = actual[name] else {
        report.fail("grads", name, "the adapter has no such tensor")
        continue
      }
      report.compare("grads", name, values, try golden.floats(name), bounds.gradient)
    }
  }

  private func logits(_ rig: ParityRig, _ row: ModelRow) throws(Fault) -> [Float] {
    let context = Context(
      tape: Tape(recording: false),
      setting: rig.setting(row, seeds: LossSeeds(), training: false))
    let logits = try rig.model.logits(row.input, in: context)
    return Array(logits.values.prefix(row.realTokens * rig.config.vocabularySize))
  }

  /// Values of the shapes of the adapter under the names of the golden files.
  private func named(
    _ rig: ParityRig, _ local: (Parameter) throws(Fault) -> [Float]
  ) throws(Fault) -> [String: [Float]] {
    let whole = WholeAdapter(model: rig.model, map: rig.map, groups: groups)
    let values = try whole.values(local)
    guard let published = rig.adapter, let plan = rig.model.adapters else { return [:] }
    if isFused { return MegatronAdapterNames(map: rig.map, plan: plan).stacked(values) }
    var result: [String: [Float]] = [:]
    for (module, spec) in zip(published.modules, adapter.modules) {
      let stored = try module.stored(values, plan)
      result[spec.a.name] = stored.a.values
      result[spec.b.name] = stored.b.values
    }
    for (name, value) in rig.map.published(values.filter { plan.savedWeights.contains($0.key) }) {
      result["base_model.model." + name] = value
    }
    return result
  }

  /// The weights with the adapter merged in, and what a model of them gives.
  private func merged(_ bounds: ParityBounds, _ report: inout ParityReport) throws(Fault) {
    let config = try QwenConfig(folder: folder)
    let map = NameMap(config)
    let published = try PublishedAdapter(adapter, map)
    let source = MergedWeights(
      base: PublishedWeightSource(try PublishedFolder(folder), map), adapter: published,
      plan: published.plan, engine: engine)
    if let stored = try Self.summary(golden)?["merged"]?.object {
      let assembly = PublishedAssembly(source, map)
      for (name, shape) in assembly.tensors {
        guard let expected = stored[name] else { continue }
        let type = try assembly.dtype(of: name)
        let merged = try Tensor(shape, type, on: engine)
        try assembly.read(name, into: merged.bytes)
        let values = merged.values
        let summary = TensorSummary(values)
        for (key, value) in [
          ("l2", summary.l2), ("sum", summary.sum), ("abs_sum", summary.absoluteSum),
        ] {
          report.compare(
            "merged", "\(name) \(key)", value, expected[key]?.double ?? .nan,
            absolute: 1e-5 * max(1, summary.l2), relative: 1e-6)
        }
        let ends = (expected["head"]?.array ?? []) + (expected["tail"]?.array ?? [])
        let count = ends.count / 2
        report.compare(
          "merged", "\(name) ends", Array(values.prefix(count) + values.suffix(count)),
          ends.map { Float($0.double ?? .nan) }, Tolerance(relative: 1e-6, absolute: 1e-7))
      }
    }
    guard let golden = try GoldenTensors(golden, "outputs.safetensors"),
      golden.has("merged_logits_every_4th"),
      let packed = try GoldenTensors(rows, "packed.safetensors")
    else { return }
    let rig = try ParityRig(
      folder: folder, dtype: dtype, groups: groups, engine: engine,
      sequenceParallel: sequenceParallel, weights: source)
    let row = try rig.row(packed)
    let all = try logits(rig, row)
    let v = config.vocabularySize
    let every = stride(from: 0, to: row.realTokens, by: 4).flatMap { all[$0 * v..<($0 + 1) * v] }
    report.compare(
      "merged", "logits of every 4th token", every, try golden.floats("merged_logits_every_4th"),
      bounds.logits)
  }

  private func training(_ report: inout ParityReport) throws(Fault) {
    guard let curves = try GoldenCurves(folder: golden, rows: rows) else {
      report.skip("train: the folder has none")
      return
    }
    for run in curves.runs {
      guard wants("train") || runs.contains(run.name) else { continue }
      guard run.isBF16 == (dtype == .bfloat16) else { continue }
      _ = try TrainingParity(
        folder: folder, curves: curves, run: run, groups: groups, engine: engine,
        sequenceParallel: sequenceParallel,
        adapted: .init(rig: { () throws(Fault) in try self.rig() }, values: named)
      ).run(&report)
    }
  }
}
