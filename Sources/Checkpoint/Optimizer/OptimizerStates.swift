import Support
import Tensor

/// One of the tensors that an optimizer keeps per parameter.
public enum OptimizerPart: String, Sendable, CaseIterable {
  /// The fp32 copy of the parameter.
  case master = "param"
  case firstMoment = "exp_avg"
  case secondMoment = "exp_avg_sq"
  /// Of SGD.
  case momentum = "momentum_buffer"

  /// Those of AdamW.
  public static let adam: [OptimizerPart] = [.master, .firstMoment, .secondMoment]

  /// All names that writers use for it.
  init?(stored name: Substring) {
    switch name {
    case "param", "fp32_param": self = .master
    case "exp_avg": self = .firstMoment
    case "exp_avg_sq": self = .secondMoment
    case "momentum_buffer": self = .momentum
    default: return nil
    }
  }
}

/// How a checkpoint holds its optimizer states (`distrib_optim_sharding_type`).
public enum OptimizerLayout: Sendable, Equatable {
  case none
  /// `fully_reshardable` and `fully_sharded_model_space`: by parameter, any layout can read them.
  case byParameter
  /// `dp_reshardable`: flat buffers; readable in the same model-parallel layout only.
  case flatBuffers
  /// A kind that is not read.
  case other(String)
}

/// Optimizer states by parameter, whichever of the two layouts they have.
///
///     let states = OptimizerStates(reader)
///     try states.read(.firstMoment, of: "output_layer.weight", ranges: […], into: buffer)
///
/// Shapes and ranges are those of the model tensor of the same key.
public struct OptimizerStates: Sendable {
  private let reader: TorchDistReader
  private let stored: [OptimizerPart: [String: String]]

  public init(_ reader: TorchDistReader) {
    self.reader = reader
    var stored: [OptimizerPart: [String: String]] = [:]
    for key in reader.index.keys where reader[key] != nil {
      guard let (part, model) = Self.parse(key) else { continue }
      stored[part, default: [:]][model] = key
    }
    self.stored = stored
  }

  /// `[chained_<n>.]optimizer.state.<part>.<model key>`.
  static func parse(_ key: String) -> (OptimizerPart, String)? {
    var rest = Substring(key)
    if rest.hasPrefix("chained_"), let dot = rest.firstIndex(of: ".") {
      rest = rest[rest.index(after: dot)...]
    }
    guard rest.hasPrefix("optimizer.state.") else { return nil }
    rest = rest.dropFirst("optimizer.state.".count)
    guard let dot = rest.firstIndex(of: "."), let part = OptimizerPart(stored: rest[..<dot]) else {
      return nil
    }
    return (part, String(rest[rest.index(after: dot)...]))
  }

  /// The key under which our writer stores a part (`fully_reshardable`).
  public static func key(_ part: OptimizerPart, of modelKey: String) -> String {
    "optimizer.state.\(part.rawValue).\(modelKey)"
  }

  /// The layout that `common` and the keys show.
  public static func layout(_ reader: TorchDistReader, _ common: CommonState) -> OptimizerLayout {
    let keys = reader.index.keys
    if keys.contains(where: { parse($0) != nil }) { return .byParameter }
    if keys.contains(where: { FlatOptimizerStates.isFlat($0) }) { return .flatBuffers }
    guard common.optimizer != nil else { return .none }
    let type = common.contentMetadata.last { $0.0 == "distrib_optim_sharding_type" }?.1.text
    return .other(type ?? "unknown")
  }

  /// The model keys that have a part; a frozen parameter has none.
  public func modelKeys(_ part: OptimizerPart) -> Set<String> { Set((stored[part] ?? [:]).keys) }

  /// Type and shape in terms of the model tensor, or nil when the part is not there.
  public func spec(_ part: OptimizerPart, of modelKey: String) -> TensorSpec? {
    guard let key = stored[part]?[modelKey], let tensor = reader[key] else { return nil }
    return TensorSpec(
      modelKey, tensor.spec.dtype, reader.index.unflattenedShapes[key] ?? tensor.spec.shape)
  }

  /// Reads the box `ranges` of a part, in coordinates of the model tensor.
  /// - Throws: `CKPT-103`, `CKPT-135`, `CKPT-151` and what `TorchDistReader.read` throws.
  public func read(
    _ part: OptimizerPart, of modelKey: String, ranges: [Range<Int>],
    into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    guard let key = stored[part]?[modelKey], let tensor = reader[key] else {
      throw Fault(
        .missingTensor, "the checkpoint has no \(part.rawValue) of it",
        at: .tensor(modelKey, file: reader.folder))
    }
    guard let shape = reader.index.unflattenedShapes[key] else {
      return try reader.read(key, ranges: ranges, into: buffer)
    }
    guard Box.fits(ranges, in: shape) else {
      throw Fault(
        .badRequest, "ranges \(ranges) are outside of shape \(shape)",
        at: .tensor(key, file: reader.folder))
    }
    let fragments = try Fragments(tensor.spec, shape: shape, folder: reader.folder)
    let target = Box(ranges)
    guard buffer.count == target.count * tensor.spec.dtype.size else {
      throw Fault(
        .badRequest, "the buffer has another size than the part asked for",
        at: .tensor(key, file: reader.folder),
        expected: "\(target.count * tensor.spec.dtype.size) bytes", found: "\(buffer.count)")
    }
    try fragments.read(target, of: reader, into: buffer)
  }
}

/// Optimizer tensors as megatron-core 0.13 and 0.14 flatten them.
///
/// A model tensor `[n_1 … n_k]` is cut into `f_1 · … · f_k` blocks of `b_i = n_i / f_i`; stored is
/// `[f_1 … f_k, b_1·…·b_k]`, each block flat. Stacked dimensions have blocks of one.
private struct Fragments {
  let spec: TensorSpec
  let grid: [Int]
  let block: [Int]

  init(_ spec: TensorSpec, shape: [Int], folder: String) throws(Fault) {
    self.spec = spec
    grid = Array(spec.shape.dropLast())
    let fits =
      grid.count == shape.count && zip(shape, grid).allSatisfy { $1 > 0 && $0 % $1 == 0 }
    block = fits ? zip(shape, grid).map { $0 / $1 } : []
    guard fits, checkedProduct(block) == spec.shape.last else {
      throw Fault(
        .badOptimizerState, "the stored shape \(spec.shape) is no cut of \(shape)",
        at: .tensor(spec.name, file: folder))
    }
  }

  func read(
    _ target: Box, of reader: TorchDistReader, into buffer: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    if target.isEmpty { return }
    let size = spec.dtype.size
    // The blocks that the target touches, along each dimension.
    let low = zip(target.offsets, block).map { $0 / $1 }
    let high = target.offsets.indices.map {
      (target.offsets[$0] + target.sizes[$0] - 1) / block[$0]
    }
    var place = low
    while true {
      let box = Box(offsets: zip(place, block).map { $0 * $1 }, sizes: block)
      if let part = box.intersection(target) {
        // Only the flat range from the first to the last element of the part is fetched.
        let strides = TensorRecord.contiguous(block)
        let first = flat(part.offsets, box, strides)
        let last = flat(zip(part.offsets, part.sizes).map { $0 + $1 - 1 }, box, strides)
        var piece = [UInt8](repeating: 0, count: (last - first + 1) * size)
        let ranges = place.map { $0..<$0 + 1 } + [first..<last + 1]
        try piece.withMutableRaw { (raw) throws(Fault) in
          try reader.read(spec.name, ranges: ranges, into: raw)
        }
        let runs = BoxRuns(box: part, source: box, target: target, elementSize: size)
        try runs.forEach { (run) throws(Fault) in
          let from = run.source - first * size
          piece.withUnsafeBytes {
            UnsafeMutableRawBufferPointer(rebasing: buffer[run.target..<run.target + run.count])
              .copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[from..<from + run.count]))
          }
        }
      }
      var axis = place.count - 1
      while axis >= 0 {
        place[axis] += 1
        if place[axis] <= high[axis] { break }
        place[axis] = low[axis]
        axis -= 1
      }
      if axis < 0 { return }
    }
  }

  private func flat(_ position: [Int], _ box: Box, _ strides: [Int]) -> Int {
    position.indices.reduce(0) { $0 + (position[$1] - box.offsets[$1]) * strides[$1] }
  }
}
