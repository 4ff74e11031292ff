import Foundation
import Support
import Tensor
import Testing

@testable import Checkpoint

/// Our checkpoints, judged by the real torch and megatron-core.
///
/// Runs only when `MEGATRON_GOLDENS` names the golden collection (with its scripts) and
/// `MEGATRON_PYTHON` a Python that has both libraries.
@Suite struct AcceptanceTests {
  static var python: String? { ProcessInfo.processInfo.environment["MEGATRON_PYTHON"] }
  static var samples: [String] {
    guard Samples.goldens != nil, python != nil else { return [] }
    return Samples.megatron.filter { Folder.kind($0 + "/reference_hf.safetensors") == .file }
  }

  @Test(
    "Megatron-core and torch accept what we write, bit for bit",
    .enabled(if: !samples.isEmpty), arguments: samples, [false, true])
  func accepted(_ sample: String, withOptimizer: Bool) throws {
    let reader = try TorchDistReader(try Samples.iteration(sample))
    guard !withOptimizer || !OptimizerStates(reader).modelKeys(.master).isEmpty else { return }
    let folder = try TemporaryFolder()
    try write(reader, sample: sample, to: folder.path, withOptimizer: withOptimizer)
    let goldens = try #require(Samples.goldens)
    var arguments = [
      Folder.parent(goldens) + "/scripts/accept_mcore_checkpoint.py", folder.path,
      "--compare", sample + "/reference_mcore.safetensors",
      "--hf-compare", sample + "/reference_hf.safetensors",
      "--require-extra-state", "--strict-tools",
    ]
    if withOptimizer { arguments.append("--subset") }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try #require(Self.python))
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    print(
      output.split(separator: "\n").filter { $0.hasPrefix("#") || $0.hasSuffix("ED") }
        .joined(separator: "\n"))
    #expect(process.terminationStatus == 0, "\(output)")
    #expect(output.contains("ACCEPTED"))
  }

  /// Writes a sample anew from two ranks in other pieces, through the whole commit.
  private func write(
    _ reader: TorchDistReader, sample: String, to root: String, withOptimizer: Bool
  ) throws {
    let text = try AtomicFile.read(sample + "/sample_info.json")
    let config = try #require(try text.withUnsafeBytes { try JSONValue.parse($0) }["config"])
    let old = try CommonState(folder: reader.folder)
    var common = CommonState(iteration: old.iteration, args: old.args)
    var work: [[TensorShard]] = [[], []]
    func add(_ spec: TensorSpec, _ bytes: [UInt8]) {
      // Whole rows of the first dimension in turn.
      let rows = max(spec.shape.first ?? 1, 1)
      let row = bytes.count / rows
      for i in 0..<rows {
        var box = Box(shape: spec.shape)
        if !spec.shape.isEmpty {
          box.offsets[0] = i
          box.sizes[0] = 1
        }
        let part = Array(bytes[i * row..<(i + 1) * row])
        work[i % 2].append(
          TensorShard(spec, box: box) { (emit) throws(Fault) in
            try part.withRaw { (raw) throws(Fault) in try emit(raw) }
          })
      }
    }
    let reference = try SafetensorsFile(sample + "/reference_mcore.safetensors")
    for spec in reference.tensors { add(spec, try reader.bytes(spec.name)) }
    if withOptimizer {
      let states = OptimizerStates(reader)
      for part in OptimizerPart.adam {
        for spec in reference.tensors {
          var bytes = [UInt8](repeating: 0, count: spec.count * 4)
          try bytes.withMutableRaw { (raw) throws(Fault) in
            try states.read(part, of: spec.name, ranges: spec.shape.map { 0..<$0 }, into: raw)
          }
          add(TensorSpec(OptimizerStates.key(part, of: spec.name), .float32, spec.shape), bytes)
        }
      }
      common.contentMetadata = [("distrib_optim_sharding_type", .text("fully_reshardable"))]
      common.optimizer = old.optimizer
      common.scheduler = old.scheduler
    }
    let sparse = config["moe"]?.bool == true
    let extra = ExtraStates(
      prefix: config["vl"]?.bool == true ? "language_model." : "",
      layers: [ExtraStates.LayerKind](
        repeating: sparse ? .sparse : .dense, count: config["layers"]?.int ?? 0),
      experts: sparse ? config["experts"]?.int ?? 0 : 0)
    let commit = CheckpointCommit(
      root: root, name: .iteration(old.iteration), id: "test\(UInt32.random(in: 0...UInt32.max))")
    try commit.prepare()
    var reports: [RankReport] = []
    for rank in 0..<2 {
      reports.append(
        try TorchDistWriter.write(
          tensors: work[rank], objects: rank == 0 ? extra.objects() : [], to: commit.staging,
          rank: rank, files: 2))
    }
    try commit.finish(
      files: try TorchDistWriter.finish(commit.staging, reports: reports, common: common))
  }
}
