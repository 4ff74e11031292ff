import Checkpoint
import Model
import Support
import Tensor

/// Pieces of our tensors as a Megatron checkpoint stores them.
enum WeightShards {
  /// The pieces of this rank's weights that it has to write.
  ///
  /// - Parameters:
  ///   - half: the weights are fp16 values held as fp32, and stored as fp16.
  ///   - isWriter: false for a rank whose copy another one writes.
  /// - Returns: shards whose bytes lie in memory until they are written.
  static func own(
    _ model: QwenModel, half: Bool = false, isWriter: (Parameter) -> Bool
  ) -> [TensorShard] {
    // A checkpoint of adapters holds what was trained, and the base stays where it is.
    let stored = model.adapters == nil ? model.parameters : model.tunedParameters
    return stored.filter(isWriter).flatMap { parameter in
      var name = parameter.name
      if let plan = model.adapters, !parameter.role.isAdapter {
        name = MegatronAdapterNames.saved(name, plan)
      }
      return shards(of: parameter, at: model.storedName(name), half: half)
    }
  }

  private static func shards(
    of parameter: Parameter, at place: StoredName, half: Bool
  ) -> [TensorShard] {
    shards(of: parameter, at: place, key: place.key, as: half ? .float16 : parameter.dtype)
  }

  /// The pieces of a parameter under any key, in any float type.
  static func shards(
    of parameter: Parameter, at place: StoredName, key: String, as type: DType
  ) -> [TensorShard] {
    let slices = parameter.slices
    let spec = TensorSpec(key, type, place.leading.map(\.count) + slices.globalShape)
    return boxes(of: parameter, at: place).map { box, piece in
      TensorShard(spec, box: box) { (emit) throws(Fault) in
        for run in piece {
          let tensor =
            slices.dim == 0
            ? parameter.tensor.rowRange(run.local..<run.local + run.count) : parameter.tensor
          let bytes = UnsafeRawBufferPointer(tensor.bytes)
          try ElementCast(engine: tensor.engine).pass(bytes, tensor.dtype, type, emit)
        }
      }
    }
  }

  /// The parts of a parameter that are in one piece in the whole tensor, and their runs here.
  static func boxes(
    of parameter: Parameter, at place: StoredName
  ) -> [(box: Box, runs: [ParameterSlices.Run])] {
    let slices = parameter.slices
    return slices.pieces.map { piece in
      var box = Box(
        offsets: place.leading.map(\.index) + slices.globalShape.map { _ in 0 },
        sizes: place.leading.map { _ in 1 } + slices.localShape)
      box.offsets[place.leading.count + slices.dim] = piece[0].global
      box.sizes[place.leading.count + slices.dim] = piece.reduce(0) { $0 + $1.count }
      return (box, piece)
    }
  }

  /// Whole tensors from a source, converted to `dtype`, some rows at a time.
  static func all(
    _ source: any WeightSource, _ map: NameMap, dtype: DType?, tools: ConversionTools
  ) throws(Fault) -> [TensorShard] {
    var shards: [TensorShard] = []
    for row in map.all {
      let (stored, shape) = try source.describe(row.name)
      let place = StoredName(row.name, map.config)
      let type = dtype ?? stored
      let spec = TensorSpec(place.key, type, place.leading.map(\.count) + shape)
      let box = Box(
        offsets: place.leading.map(\.index) + shape.map { _ in 0 },
        sizes: place.leading.map { _ in 1 } + shape)
      shards.append(
        TensorShard(spec, box: box) { (emit) throws(Fault) in
          try tools.with { (memory, cast) throws(Fault) in
            try source.stream(row.name, rows: 0..<shape[0], wholly: false, through: memory) {
              (bytes) throws(Fault) in
              try cast.pass(bytes, stored, type, emit)
            }
          }
        })
    }
    return shards
  }
}

/// Memory for the length of a call.
enum ScratchBytes {
  static func with<R>(
    _ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws(Fault) -> R
  ) throws(Fault) -> R {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, count), alignment: 64)
    defer { buffer.deallocate() }
    return try body(UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
  }
}
