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
    let bounds = ParityBounds(dtype: dtype, isMoE: rig.config.experts != nil)
    let writer = ParityWriter(folder: groups.isFirst ? output : nil)
    if wants("packed") { try packed(rig, bounds, &report, writer) }
    if wants("padded"), let padded = try golden("padded", &report) {
      let out = try PaddedParity(rig: rig, bounds: bounds).run(padded, &report)
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
    let parity = PackedParity(rig: rig, bounds: bounds, golden: packed)
    let out = try parity.run(&report, grads: grads)
    try writer.write(out.values, like: packed, "packed.safetensors")
    if let grads {
      try writer.write(out.grads.mapValues(\.values), like: grads, "packed.grads.safetensors")
    }
    guard rig.config.experts != nil else { return }
    let experts = ExpertParity(
      folder: folder, golden: golden, dtype: dtype, rig: rig, bounds: bounds)
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

  /// A model of its own: generation lays weights out anew, which no other part could read.
  private func generate(_ golden: GoldenTensors, _ report: inout ParityReport) throws(Fault) {
    if golden.has("pixel_values") {
      report.skip("generate: pictures are not generated from yet")
      return
    }
    let rig = try ParityRig(
      folder: folder, dtype: dtype, groups: groups, engine: engine,
      sequenceParallel: sequenceParallel)
    try rig.model.text.prepareForGeneration()
    try GenerateParity(rig: rig, isBF16: dtype == .bfloat16).run(golden, &report)
  }

  private func capacityFactor() throws(Fault) -> Double {
    let path = golden + "/summary.json"
    guard let data = FileManager.default.contents(atPath: path),
      let json = try? JSONValue.parse(String(decoding: data, as: UTF8.self)),
      let factor = json["packed"]?["drop"]?["capacity_factor"]?.double
    else {
      throw Fault(
        .badJSON, "no packed.drop.capacity_factor", at: .file(path),
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
