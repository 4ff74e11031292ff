import Support
import Tensor

/// The way back: published tensors made of ours, one at a time.
public struct PublishedAssembly {
  /// A run of rows of one of our tensors in a published one.
  struct Part {
    let name: String
    let row: Int
    let publishedRow: Int
    let count: Int
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
        parts[piece.published, default: []].append(
          Part(
            name: row.name, row: piece.row, publishedRow: piece.publishedRow, count: piece.count))
      }
    }
    self.parts = parts
  }

  /// The parts of a published tensor in the order of its rows.
  func ordered(_ name: String) -> [Part] {
    (parts[name] ?? []).sorted { $0.publishedRow < $1.publishedRow }
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
      let start = part.publishedRow * width * dtype.size
      try source.read(
        part.name, rows: part.row..<part.row + part.count, columns: 0..<width,
        into: UnsafeMutableRawBufferPointer(
          rebasing: target[start..<start + part.count * width * dtype.size]))
    }
  }
}
