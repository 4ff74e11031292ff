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
  /// Hands on whole rows in order, in the source's dtype, with as few copies as the source can do.
  /// - Parameters:
  ///   - wholly: in one part, where the source holds the rows in one piece.
  ///   - memory: room for parts; what it lends for a transfer is the source's until this returns.
  ///   - emit: gets parts of whole elements at any address, which are good during the call.
  func stream(
    _ name: String, rows: Range<Int>, wholly: Bool, through memory: StreamMemory,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault)
}

/// Published tensors by their own names, as `Checkpoint` reads them.
public protocol PublishedTensors {
  func describe(published name: String) -> (dtype: DType, shape: [Int])?
  /// A run of elements in the order of the file.
  func readElements(
    published name: String, _ elements: Range<Int>, into target: UnsafeMutableRawBufferPointer
  ) throws(Fault)
  /// Hands on a run of elements in the order of the file, as `WeightSource.stream` does.
  /// - Parameter wholly: in one part.
  func streamElements(
    published name: String, _ elements: Range<Int>, wholly: Bool, through memory: StreamMemory,
    _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
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

  /// With the names that the tensors' own shapes call for.
  public init(_ tensors: some PublishedTensors, _ config: QwenConfig) {
    self.init(tensors, NameMap(config, experts: ExpertLayout.of(tensors, config).layout))
  }

  public func describe(_ name: String) throws(Fault) -> (dtype: DType, shape: [Int]) {
    let row = try row(name)
    guard let first = tensors.describe(published: row.pieces[0].published) else {
      throw missing(row.pieces[0].published)
    }
    return (first.dtype, row.shape)
  }

  func row(_ name: String) throws(Fault) -> NameMapRow {
    guard let row = map[name] else { throw missing(name) }
    return row
  }

  /// The type of the tensor that holds a piece.
  /// - Throws: `MODEL-103` when there is none, or one of another shape.
  func dtype(of piece: NameMapRow.Piece) throws(Fault) -> DType {
    guard let (dtype, shape) = tensors.describe(published: piece.published) else {
      throw missing(piece.published)
    }
    guard map.fits(piece.published, shape) else {
      throw Fault(
        .badModelWeights, "\(piece.published) does not have the shape config.json asks for",
        at: .tensor(piece.published), expected: "\(map.shape(of: piece.published) ?? [])",
        found: "\(shape)")
    }
    return dtype
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
    let row = try row(name)
    let width = row.shape.dropFirst().reduce(1, *)
    for piece in row.pieces {
      let wanted = (piece.row..<piece.row + piece.count).clamped(to: rows)
      if wanted.isEmpty { continue }
      let dtype = try dtype(of: piece)
      let place = (wanted.lowerBound - rows.lowerBound) * columns.count * dtype.size
      let part = UnsafeMutableRawBufferPointer(
        rebasing: target[place..<place + wanted.count * columns.count * dtype.size])
      let run = wanted.lowerBound - piece.row..<wanted.upperBound - piece.row
      if let stride = piece.transposedWidth {
        try readTransposed(piece, run, columns, width, stride, dtype, part)
      } else {
        try readPlain(piece, run, columns, width, dtype, part)
      }
    }
  }

  /// Rows `run` of a piece, of which `columns` are wanted.
  private func readPlain(
    _ piece: NameMapRow.Piece, _ run: Range<Int>, _ columns: Range<Int>, _ width: Int,
    _ dtype: DType, _ target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let first = (piece.publishedRow + run.lowerBound) * width
    let elements = first..<first + run.count * width
    if columns.count == width {
      try tensors.readElements(published: piece.published, elements, into: target)
      return
    }
    let whole = UnsafeMutableRawBufferPointer.allocate(
      byteCount: elements.count * dtype.size, alignment: 64)
    defer { whole.deallocate() }
    try tensors.readElements(published: piece.published, elements, into: whole)
    let bytes = columns.count * dtype.size
    for i in 0..<run.count {
      let from = (i * width + columns.lowerBound) * dtype.size
      UnsafeMutableRawBufferPointer(rebasing: target[i * bytes..<(i + 1) * bytes])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: whole[from..<from + bytes]))
    }
  }

  /// Our rows are columns of the published block, our columns its rows of `stride` elements.
  private func readTransposed(
    _ piece: NameMapRow.Piece, _ run: Range<Int>, _ columns: Range<Int>, _ width: Int,
    _ stride: Int, _ dtype: DType, _ target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let first = (piece.publishedRow + columns.lowerBound) * stride
    let bytes = columns.count * stride * dtype.size
    let block = UnsafeMutableRawPointer.allocate(byteCount: max(1, bytes), alignment: 64)
    defer { block.deallocate() }
    try tensors.readElements(
      published: piece.published, first..<first + columns.count * stride,
      into: UnsafeMutableRawBufferPointer(start: block, count: bytes))
    ElementTranspose.copy(
      block + (piece.publishedColumn + run.lowerBound) * dtype.size,
      rowStride: stride, rows: columns.count, columns: run.count, elementSize: dtype.size,
      into: target.baseAddress, targetStride: columns.count)
  }
}

extension ParameterSlices {
  /// The runs in the order of the whole tensor; those that are neighbours there are one piece.
  package var pieces: [[Run]] {
    var pieces: [[Run]] = []
    for run in runs.sorted(by: { $0.global < $1.global }) {
      if let last = pieces.last?.last, last.global + last.count == run.global {
        pieces[pieces.count - 1].append(run)
      } else {
        pieces.append([run])
      }
    }
    return pieces
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
    if slices.dim == 0 {
      for piece in slices.pieces { try read(piece, width: width, from: source, into: local) }
    } else {
      // A run along columns is the whole of the local tensor.
      for run in slices.runs {
        try source.read(
          name, rows: 0..<shape[0], columns: run.global..<run.global + run.count,
          into: local.bytes)
      }
    }
    try tensor.assign(local, name: name)
  }

  /// Reads rows that are neighbours in the whole tensor at once, wherever they lie here: a source that
  /// turns what it stores has to read a whole block for any part of it.
  private func read(
    _ piece: [ParameterSlices.Run], width: Int, from source: some WeightSource, into local: Tensor
  ) throws(Fault) {
    let first = piece[0].global, count = piece.reduce(0) { $0 + $1.count }
    guard piece.count > 1 else {
      let rows = local.rowRange(piece[0].local..<piece[0].local + count)
      return try source.read(
        name, rows: first..<first + count, columns: 0..<width, into: rows.bytes)
    }
    let rows = try Tensor([count] + shape.dropFirst(), local.dtype, on: tensor.engine)
    try source.read(name, rows: first..<first + count, columns: 0..<width, into: rows.bytes)
    for run in piece {
      let place = run.global - first..<run.global - first + run.count
      local.rowRange(run.local..<run.local + run.count).bytes.copyMemory(
        from: UnsafeRawBufferPointer(rows.rowRange(place).bytes))
    }
  }

  /// The first dim of the two vocabulary tensors may be padded further than `vocab_size`.
  private func fits(_ whole: [Int]) -> Bool {
    if whole == slices.globalShape { return true }
    let isVocabulary =
      name.hasSuffix("word_embeddings.weight") || name.hasSuffix("output_layer.weight")
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
