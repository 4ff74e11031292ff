import Checkpoint
import Model
import Parallel
import Support
import Tensor

/// Writes the weights of a Megatron checkpoint as a published folder, in bounded memory. All ranks
/// call it and share the files.
struct PublishedExport {
  let folder: ModelFolder
  let world: any Communicator
  let threads: Int
  let logger: Logger
  /// Type of the written tensors; nil keeps the stored one.
  var dtype: DType?
  var maxShardBytes = 5_000_000_000
  var experts = ExpertOrder.published
  /// Asked after each tensor; what is written stays, and another call goes on.
  var isStopped: @Sendable () -> Bool = { false }
  /// Write over files of the model that are there already.
  var replacesFiles = false

  /// Where files lie until all are complete, in the folder they are for.
  static let staging = ".tmp_hf_conversion"

  /// What was written.
  struct Result {
    var tensors: Int
    /// Finite values that became infinite on the way to fp16.
    var overflows: Int
  }

  /// Writes safetensors files, the index, `config.json`, the files of the model and a manifest.
  /// - Parameter checkpoint: the folder of one iteration.
  /// - Throws: `MODEL-103` when the checkpoint does not fit config.json; `FILE-003`, `CKPT-1xx`;
  ///   `RUN-103` after a signal.
  func write(_ checkpoint: String, to output: String) throws(Fault) -> Result {
    let map = NameMap(folder.config, experts: experts.layout(folder.config))
    let source = try world.agreeing { () throws(Fault) in
      let source = try MegatronWeights(streaming: checkpoint, folder.config)
      try source.checkUsed(map.all.map(\.name))
      return source
    }
    let assembly = PublishedAssembly(source, map)
    let tools = ConversionTools()
    let units = try world.agreeing { () throws(Fault) in
      try self.units(assembly, tools)
    }
    let staging = output + "/" + Self.staging
    try world.agreeing { () throws(Fault) in
      if world.rank == 0 { try Folder.make(staging) }
    }
    let written = try StreamedWrite(
      world: world, threads: threads, staging: staging,
      purpose: ConversionPurpose.text(
        checkpoint, source: try SourceState.files(checkpoint), dtype: dtype,
        experts: map.experts, files: units.files),
      logger: logger, isStopped: isStopped
    ).run(units.files)
    try world.agreeing { () throws(Fault) in
      try source.reader.finishChecks()
    }
    try world.agreeing { () throws(Fault) in
      guard world.rank == 0 else { return }
      let files = zip(units.files, written).map { SafetensorsUnits.written($0, $1) }
      try units.publish(from: staging, to: output)
      try Folder.remove(staging)
      try folder.copyCompanions(to: output, replacing: replacesFiles)
      try folder.writeConfiguration(
        dtype: units.shards.files[0].tensors.first?.dtype ?? .bfloat16, to: output)
      try Manifest(iteration: 0, info: JSONObject(), files: files).write(to: output)
    }
    return Result(
      tensors: assembly.tensors.count, overflows: try world.total(tools.overflows))
  }

  private func units(
    _ assembly: PublishedAssembly, _ tools: ConversionTools
  ) throws(Fault) -> SafetensorsUnits {
    var specs: [TensorSpec] = []
    var stored: [String: DType] = [:]
    for (name, shape) in assembly.tensors {
      let type = try assembly.dtype(of: name)
      stored[name] = type
      specs.append(TensorSpec(name, dtype ?? type, shape))
    }
    return try SafetensorsUnits(specs, maxShardBytes: maxShardBytes) { spec in
      { (emit) throws(Fault) in
        try tools.with { (memory, cast) throws(Fault) in
          try assembly.stream(spec.name, through: memory) { (bytes) throws(Fault) in
            try cast.pass(bytes, stored[spec.name] ?? spec.dtype, spec.dtype, emit)
          }
        }
      }
    }
  }
}

extension ModelFolder {
  /// `config.json` with the type that was written, in the spelling the source has.
  /// - Throws: `FILE-003`.
  func writeConfiguration(dtype: DType, to output: String) throws(Fault) {
    var root = configuration
    let names: [DType: String] = [
      .float32: "float32", .bfloat16: "bfloat16", .float16: "float16",
    ]
    let key = root["dtype"] != nil && root["torch_dtype"] == nil ? "dtype" : "torch_dtype"
    guard let name = names[dtype], root[key]?.string != name else { return }
    root[key] = .string(name)
    try AtomicFile.write(
      JSONValue.object(root).write(.indented) + "\n", to: output + "/config.json")
  }
}
