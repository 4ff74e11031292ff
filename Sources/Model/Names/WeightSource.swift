import CKernels
import Support
import Tensor

/// Anything that can give rectangles of whole tensors under our names: a Megatron checkpoint, or a
/// published folder seen through a `NameMap`.
public protocol WeightSource {
  /// - Throws: `MODEL-103` if there is no such tensor.
  func describe(_ name: String) throws(Fault) -> (dtype: DType, shape: [Int])
  /// Rows × columns (all columns of a one-dimensional tensor: 0..<1), in the source's dtype.
  func read(
    _ name: String, rows: Range<Int>, columns: Range<Int>,
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault)
}

/// Published tensors by their own names, as `Checkpoint` reads them.
public protocol PublishedTensors {
  func describe(published name: String) -> (dtype: DType, shape: [Int])?
  /// Whole rows of the first dim.
  func readRows(
    published name: String, _ rows: Range<Int>, into target: UnsafeMutableRawBufferPointer
  ) throws(Fault)
}

/// A published folder under our names.
public struct PublishedWeightSource: WeightSource {
  let tensors: any PublishedTensors
  let map: NameMap

  public init(_ tensors: any PublishedTensors, _ map: NameMap) {
    self.tensors = tensors
    self.map = map
  }

  public func describe(_ name: String) throws(Fault) -> (dtype: DType, shape: [Int]) {
    guard let row = map[name] else { throw missing(name) }
    guard let first = tensors.describe(published: row.pieces[0].published) else {
      throw missing(row.pieces[0].published)
    }
    return (first.dtype, row.shape)
  }

  private func missing(_ name: String) -> Fault {
    Fault(
      .badModelWeights, "there is no tensor \(name)", at: .tensor(name),
      fix: "compare config.json with the tensors of the folder")
  }

  public func read(
    _ name: String, rows: Range<Int>, columns: Range<Int>,
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    guard let row = map[name] else { throw missing(name) }
    let width = row.shape.dropFirst().reduce(1, *)
    for piece in row.pieces {
      let wanted = (piece.row..<piece.row + piece.count).clamped(to: rows)
      if wanted.isEmpty { continue }
      guard let (dtype, shape) = tensors.describe(published: piece.published) else {
        throw missing(piece.published)
      }
      guard shape.dropFirst().reduce(1, *) == width, piece.publishedRow + piece.count <= shape[0]
      else {
        throw Fault(
          .badModelWeights, "\(piece.published) does not have the shape config.json asks for",
          at: .tensor(piece.published), expected: "rows of \(width)", found: "\(shape)")
      }
      let source = piece.publishedRow + wanted.lowerBound - piece.row
      let place = (wanted.lowerBound - rows.lowerBound) * columns.count * dtype.size
      let part = UnsafeMutableRawBufferPointer(
        rebasing: target[place..<place + wanted.count * columns.count * dtype.size])
      if columns.count == width {
        try tensors.readRows(
          published: piece.published, source..<source + wanted.count, into: part)
      } else {
        try readColumns(
          piece.published, source..<source + wanted.count, columns, width, dtype, part)
      }
    }
  }

  private func readColumns(
    _ name: String, _ rows: Range<Int>, _ columns: Range<Int>, _ width: Int, _ dtype: DType,
    _ target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let whole = UnsafeMutableRawBufferPointer.allocate(
      byteCount: rows.count * width * dtype.size, alignment: 64)
    defer { whole.deallocate() }
    try tensors.readRows(published: name, rows, into: whole)
    let bytes = columns.count * dtype.size
    for i in 0..<rows.count {
      let from = (i * width + columns.lowerBound) * dtype.size
      UnsafeMutableRawBufferPointer(rebasing: target[i * bytes..<(i + 1) * bytes])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: whole[from..<from + bytes]))
    }
  }
}

extension QwenText {
  /// Fills every weight of this rank but adapters.
  /// - Throws: `MODEL-103` for a missing tensor or a wrong shape; what the source throws.
  public func load(from source: some WeightSource) throws(Fault) {
    for parameter in parameters where !parameter.role.isAdapter {
      try parameter.load(from: source)
    }
  }
}

extension Parameter {
  /// Fills this rank's part.
  /// - Throws: as `QwenText.load`.
  package func load(from source: some WeightSource) throws(Fault) {
    let (dtype, whole) = try source.describe(name)
    guard fits(whole) else {
      throw Fault(
        .badModelWeights, "\(name) has another shape than config.json says", at: .tensor(name),
        expected: "\(slices.globalShape)", found: "\(whole)")
    }
    let local = try Tensor(shape, dtype, on: tensor.engine)
    if tensor.engine.isPlanning { return }
    let width = shape.dropFirst().reduce(1, *)
    for run in slices.runs {
      if slices.dim == 0 {
        let rows = local.rowRange(run.local..<run.local + run.count)
        try source.read(
          name, rows: run.global..<run.global + run.count, columns: 0..<width, into: rows.bytes)
      } else {
        // A run along columns is the whole of the local tensor.
        try source.read(
          name, rows: 0..<shape[0], columns: run.global..<run.global + run.count,
          into: local.bytes)
      }
    }
    try tensor.assign(local, name: name)
  }

  /// The first dim of the two vocabulary tensors may be padded further than `vocab_size`.
  private func fits(_ whole: [Int]) -> Bool {
    if whole == slices.globalShape { return true }
    let isVocabulary = name.hasSuffix("word_embeddings.weight") || name == "output_layer.weight"
    return isVocabulary && whole.count == 2 && whole[1] == slices.globalShape[1]
      && whole[0] >= slices.globalShape[0]
  }
}

extension Tensor {
  /// Copies values of any float type into this tensor.
  func assign(_ source: Tensor, name: String) throws(Fault) {
    if source.dtype == dtype {
      bytes.copyMemory(from: UnsafeRawBufferPointer(source.bytes))
    } else if source.dtype == .float16 {
      let wide = try Tensor(shape, .float32, on: engine)
      engine.kernel {
        ck_from_f16($0, count, source.pointer(as: UInt16.self), 1, wide.pointer(as: Float.self))
      }
      engine.convert(wide, into: self)
    } else if source.dtype == .float32 || source.dtype == .bfloat16 {
      engine.convert(source, into: self)
    } else {
      throw Fault(
        .badModelWeights, "\(name) is \(source.dtype.rawValue)", at: .tensor(name),
        expected: "F32, BF16 or F16")
    }
  }
}
