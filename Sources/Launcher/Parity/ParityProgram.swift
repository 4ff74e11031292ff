import DataPipeline
import Foundation
import Model
import Parallel
import Support
import Tensor

/// `megatron-parity`: runs a model on stored inputs in any layout and compares everything the folder
/// holds with what was stored.
struct ParityProgram {
  let folder: String
  let golden: String
  let dtype: DType
  let runs: [String]
  let groups: RankGroups
  let engine: Engine
  let sequenceParallel: Bool
  let output: String?

  /// - Returns: the report, the same on all ranks.
  func run() throws(Fault) -> ParityReport {
    var report = ParityReport()
    let rig = try ParityRig(
      folder: folder, dtype: dtype, groups: groups, engine: engine,
      sequenceParallel: sequenceParallel)
    let bounds = ParityBounds(dtype: dtype)
    let writer = ParityWriter(folder: groups.isFirst ? output : nil)
    if wants("packed") { try packed(rig, bounds, &report, writer) }
    if wants("padded"), let padded = try golden("padded", &report) {
      let out = try PaddedParity(folder: folder, rig: rig, bounds: bounds).run(padded, &report)
      try writer.write(out.values, like: padded, "padded.safetensors")
    }
    if wants("generate"), let generate = try golden("generate", &report) {
      try self.generate(generate, &report)
    }
    try training(rig, &report, writer)
    return report
  }

  /// Parts asked for by `--run`; all without it.
  private func wants(_ part: String) -> Bool { runs.isEmpty || runs.contains(part) }

  private func golden(_ name: String, _ report: inout ParityReport) throws(Fault) -> GoldenTensors?
  {
    let tensors = try GoldenTensors(golden, name + ".safetensors")
    if tensors == nil { report.skip("\(name): the folder has none") }
    return tensors
  }

  private func packed(
    _ rig: ParityRig, _ bounds: ParityBounds, _ report: inout ParityReport, _ writer: ParityWriter
  ) throws(Fault) {
    guard let packed = try golden("packed", &report) else { return }
    let grads = try golden("packed.grads", &report)
    let parity = PackedParity(
      rig: rig, bounds: bounds, golden: packed, replay: try replay(rig, packed, packed))
    let out = try parity.run(&report, grads: grads)
    try writer.write(out.values, like: packed, "packed.safetensors")
    if let grads {
      try writer.write(out.grads.mapValues(\.values), like: grads, "packed.grads.safetensors")
    }
    if dtype == .bfloat16, let bf16 = try golden("packed.bf16", &report) {
      try PackedParity(
        rig: rig, bounds: bounds, golden: packed, replay: try replay(rig, bf16, packed)
      ).run(&report, bf16: bf16)
    }
    guard rig.config.experts != nil else { return }
    let experts = ExpertParity(
      folder: folder, golden: golden, dtype: dtype, rig: rig, bounds: bounds,
      replay: parity.replay)
    if let drop = try golden("packed.drop", &report) {
      let out = try experts.drop(
        drop, packed: packed, factor: try capacityFactor(), &report)
      try writer.write(out.values, like: drop, "packed.drop.safetensors")
    }
    if let aux = try golden("aux.grads", &report) {
      let out = try experts.auxiliary(aux, packed: packed, &report)
      try writer.write(out.grads.mapValues(\.values), like: aux, "aux.grads.safetensors")
    }
  }

  /// The stored choices for a mixture in bf16; nil where the model chooses: in fp32 it must choose
  /// alike.
  private func replay(
    _ rig: ParityRig, _ golden: GoldenTensors, _ packed: GoldenTensors
  ) throws(Fault) -> RoutingReplay? {
    guard dtype != .float32, let experts = rig.config.experts else { return nil }
    let tokens = packed.shape("input_ids").reduce(1, *)
    return try RoutingReplay(golden, experts: experts.count, slots: tokens * experts.topK)
  }

  /// A model of its own: generation lays weights out anew, which no other part could read.
  private func generate(_ golden: GoldenTensors, _ report: inout ParityReport) throws(Fault) {
    let rig = try ParityRig(
      folder: folder, dtype: dtype, groups: groups, engine: engine,
      sequenceParallel: sequenceParallel)
    try rig.model.text.prepareForGeneration()
    try GenerateParity(
      rig: rig, isBF16: dtype == .bfloat16,
      suppressed: summary()?["generate"]?["suppressed"]?.array?.compactMap {
        $0.int.flatMap(Int32.init(exactly:))
      } ?? []
    ).run(golden, &report)
  }

  /// What the folder tells of its files.
  private func summary() -> JSONValue? {
    FileManager.default.contents(atPath: golden + "/summary.json").flatMap {
      try? JSONValue.parse(String(decoding: $0, as: UTF8.self))
    }
  }

  private func capacityFactor() throws(Fault) -> Double {
    guard let factor = summary()?["packed"]?["drop"]?["capacity_factor"]?.double else {
      throw Fault(
        .badJSON, "no packed.drop.capacity_factor", at: .file(golden + "/summary.json"),
        fix: "packed.drop.safetensors needs the capacity it was made with")
    }
    return factor
  }

  private func training(
    _ rig: ParityRig, _ report: inout ParityReport, _ writer: ParityWriter
  ) throws(Fault) {
    guard let curves = try GoldenCurves(folder: golden) else {
      report.skip("train: the folder has none")
      return
    }
    var results: [(String, GoldenCurves.Result)] = []
    for run in curves.runs {
      guard wants("train") || runs.contains(run.name) else { continue }
      guard run.isBF16 == (dtype == .bfloat16) else { continue }
      if run.isInformation && !runs.contains(run.name) {
        report.skip("train \(run.name): information only")
        continue
      }
      let result = try TrainingParity(
        folder: folder, curves: curves, run: run, groups: groups, engine: engine,
        sequenceParallel: sequenceParallel
      ).run(&report)
      results.append((run.name, result))
    }
    try writer.write(results, curves: curves)
  }
}

/// Writes what was computed under the file names and keys of the golden folder.
struct ParityWriter {
  let folder: String?

  func write(_ values: [String: [Float]], like golden: GoldenTensors, _ name: String)
    throws(Fault)
  {
    guard let folder else { return }
    try makeFolder(folder)
    let names = golden.names.filter { values[$0] != nil }
    try FloatTensors.write(
      names.map { ($0, golden.shape($0), values[$0] ?? []) }, to: folder + "/" + name)
  }

  func write(_ results: [(String, GoldenCurves.Result)], curves: GoldenCurves) throws(Fault) {
    guard let folder, !results.isEmpty else { return }
    try makeFolder(folder)
    var runs = JSONObject()
    for (name, result) in results { runs[name] = result.json }
    var root = JSONObject()
    root["runs"] = .object(runs)
    try AtomicText.write(JSONValue.object(root).write(.indented), to: folder + "/train.json")
  }

  private func makeFolder(_ path: String) throws(Fault) {
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
      throw Fault(.cannotWrite, "cannot make the folder", at: .file(path), cause: error)
    }
  }
}
