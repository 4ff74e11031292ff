import Checkpoint
import Model
import Support
import Tensor

/// Writes the weights of a Megatron checkpoint as a published folder, one tensor at a time.
struct PublishedExport {
  let folder: ModelFolder
  let engine: Engine
  /// Type of the written tensors; nil keeps the stored one.
  var dtype: DType?
  var maxShardBytes = 5_000_000_000
  /// Write over files of the model that are there already.
  var replacesFiles = false

  /// What was written.
  struct Result {
    var tensors: Int
    /// Finite values that became infinite on the way to fp16.
    var overflows: Int
  }

  /// Writes safetensors files, the index, `config.json` and the files of the model.
  /// - Parameter checkpoint: the folder of one iteration.
  /// - Throws: `MODEL-103` when the checkpoint does not fit config.json; `FILE-003`, `CKPT-1xx`.
  func write(_ checkpoint: String, to output: String) throws(Fault) -> Result {
    let map = NameMap(folder.config)
    let assembly = PublishedAssembly(try MegatronWeights(checkpoint, folder.config), map)
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
    try writeConfig(specs.first?.dtype ?? .bfloat16, to: output)
    return Result(tensors: specs.count, overflows: cast.overflows)
  }

  /// `config.json` with the type that was written, in the spelling the source has.
  private func writeConfig(_ dtype: DType, to output: String) throws(Fault) {
    var root = folder.configuration
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
