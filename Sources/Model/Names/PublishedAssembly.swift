import Support
import Tensor

/// The way back: published tensors made of ours, one at a time.
public struct PublishedAssembly {
  /// A run of rows of one of our tensors in a published one.
  struct Part {
    let name: String
    let piece: NameMapRow.Piece
  }

  let source: any WeightSource
  /// Published tensors in the order of the model.
  public let tensors: [(name: String, shape: [Int])]
  private let parts: [String: [Part]]

  public init(_ source: any WeightSource, _ map: NameMap) {
    self.source = source
    tensors = map.published
    var parts: [String: [Part]] = [:]
    for row in map.all {
      for piece in row.pieces {
        parts[piece.published, default: []].append(Part(name: row.name, piece: piece))
      }
    }
    self.parts = parts
  }

  /// The parts of a published tensor in the order of its rows.
  func ordered(_ name: String) -> [Part] {
    (parts[name] ?? []).sorted { $0.piece.publishedRow < $1.piece.publishedRow }
  }

  /// Type of the stored values that make up a published tensor.
  public func dtype(of name: String) throws(Fault) -> DType {
    guard let part = parts[name]?.first else {
      throw Fault(.internalError, "no rule makes \(name)", at: .tensor(name))
    }
    return try source.describe(part.name).dtype
  }

  /// All rows of a published tensor in the source's dtype, in file order.
  public func read(_ name: String, into target: UnsafeMutableRawBufferPointer) throws(Fault) {
    for part in parts[name] ?? [] {
      let (dtype, shape) = try source.describe(part.name)
      let width = shape.dropFirst().reduce(1, *)
      let piece = part.piece
      let rows = piece.row..<piece.row + piece.count
      guard let stride = piece.transposedWidth else {
        let start = piece.publishedRow * width * dtype.size
        try source.read(
          part.name, rows: rows, columns: 0..<width,
          into: UnsafeMutableRawBufferPointer(
            rebasing: target[start..<start + piece.count * width * dtype.size]))
        continue
      }
      let own = UnsafeMutableRawBufferPointer.allocate(
        byteCount: piece.count * width * dtype.size, alignment: 64)
      defer { own.deallocate() }
      try source.read(part.name, rows: rows, columns: 0..<width, into: own)
      guard let from = own.baseAddress, let to = target.baseAddress else { continue }
      ElementTranspose.copy(
        from, rowStride: width, rows: piece.count, columns: width, elementSize: dtype.size,
        into: to + (piece.publishedRow * stride + piece.publishedColumn) * dtype.size,
        targetStride: stride)
    }
  }
}
