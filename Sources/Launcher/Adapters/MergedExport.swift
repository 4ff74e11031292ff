import Checkpoint
import Model
import Support
import Tensor

/// Writes a model with an adapter merged in, as a published folder or a Megatron checkpoint, one tensor
/// at a time.
struct MergedExport {
  let folder: ModelFolder
  let source: MergedWeights
  let engine: Engine
  /// Type of the written tensors; nil keeps that of the base.
  var dtype: DType?
  var maxShardBytes = 5_000_000_000
  var experts = ExpertOrder.published
  var replacesFiles = false

  /// - Returns: the number of tensors.
  /// - Throws: `FILE-003`, `CKPT-1xx`, `MODEL-103`.
  func writePublished(to output: String) throws(Fault) -> Int {
    let assembly = PublishedAssembly(
      source, NameMap(folder.config, experts: experts.layout(folder.config)))
    var specs: [TensorSpec] = []
    for (name, shape) in assembly.tensors {
      let stored = try assembly.dtype(of: name)
      specs.append(TensorSpec(name, dtype ?? stored, shape))
    }
    let writer = try SafetensorsFolderWriter(output, tensors: specs, maxShardBytes: maxShardBytes)
    let cast = ElementCast(engine: engine)
    for spec in specs {
      let stored = try assembly.dtype(of: spec.name)
      try ScratchBytes.with(spec.count * stored.size) { (buffer) throws(Fault) in
        try assembly.read(spec.name, into: buffer)
        try cast.convert(UnsafeRawBufferPointer(buffer), stored, spec.dtype) {
          (bytes) throws(Fault) in
          try writer.append(spec.name, bytes)
        }
      }
    }
    try writer.finish()
    try folder.copyCompanions(to: output, replacing: replacesFiles)
    try folder.writeConfiguration(dtype: specs.first?.dtype ?? .bfloat16, to: output)
    return specs.count
  }

  /// Writes `iter_0000001` and the tracker.
  /// - Returns: the number of tensors.
  /// - Throws: as `writePublished`.
  func writeMegatron(to output: String, files: Int, extraState: MegatronObjects.Form?) throws(Fault)
    -> Int
  {
    let map = NameMap(folder.config)
    let commit = CheckpointCommit(
      root: output, name: .iteration(1), id: String(UInt32.random(in: 0...UInt32.max), radix: 36))
    try commit.prepare()
    let report = try TorchDistWriter.write(
      tensors: try WeightShards.all(
        source, map, dtype: dtype, tools: ConversionTools()),
      objects: extraState.map { MegatronObjects.extraState(folder.config, $0) } ?? [],
      to: commit.staging, rank: 0, files: files)
    let written = try TorchDistWriter.finish(
      commit.staging, reports: [report], common: MegatronCommon(folder.config, iteration: 1).state)
    try commit.finish(files: written)
    try folder.copyCompanions(to: output, replacing: replacesFiles)
    return map.all.count
  }
}
