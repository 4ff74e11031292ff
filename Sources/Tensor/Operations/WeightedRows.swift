import CKernels
import Support

/// Rows of a table mixed with fixed weights, added to a value.
///
///     y[t, h] = x + Σ_j weight[t, j] · table[row[t, j], h]     dtable[row[t, j]] += weight[t, j] · dy[t]
///
/// The gradient of the table is summed in fp32 over (t, j) ascending.
public struct WeightedRows: Operation {
  public static let name: StaticString = "weightedRows"
  /// Which rows of a table make up each row, and with what weight: `k` entries per row.
  public struct Mix: Sendable {
    public let k: Int
    public let rows: [Int32]
    public let weights: [Float]
    public init(k: Int, rows: [Int32], weights: [Float]) {
      precondition(rows.count == weights.count && rows.count % k == 0)
      self.k = k
      self.rows = rows
      self.weights = weights
    }
    public var count: Int { rows.count / k }
  }

  let table: Parameter  // [n, h]
  /// Of all rows that are summed.
  let mix: Mix
  let rows: (any RowGathering)?

  /// Rows whose weighted gradients are formed together: a bound on memory, no sum depends on it.
  private static let chunkRows = 1024

  public var savedBytes: Int { 0 }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    if table.isTrainable { try addGradient(try rows?.whole(dy) ?? dy) }
    return [dy]
  }

  private func addGradient(_ dy: Tensor) throws(Fault) {
    let engine = dy.engine
    let sum = try Tensor.zeros(table.shape, .float32, on: engine)
    var start = 0
    while start < dy.rows {
      let rows = start..<min(start + Self.chunkRows, dy.rows)
      try add(try dy.rowRange(rows).converted(to: .float32), rows, into: sum)
      start = rows.upperBound
    }
    try table.addTreeSum(of: sum.reshaped([1, table.count]), over: nil)
  }

  private func add(_ dy: Tensor, _ rows: Range<Int>, into sum: Tensor) throws(Fault) {
    let entries = rows.lowerBound * mix.k..<rows.upperBound * mix.k
    let scaled = try Tensor([entries.count, dy.rowSize], .float32, on: dy.engine)
    let slots = entries.map { Int32($0 / mix.k - rows.lowerBound) }
    let ids = Array(mix.rows[entries])
    let weights = Array(mix.weights[entries])
    dy.engine.combineRows(dy, k: 1, slots, weights: weights, into: scaled)
    dy.engine.kernel {
      ck_embedding_backward(
        $0, CK_F32, entries.count, dy.rowSize, ids, 0, sum.rows, scaled.address,
        sum.pointer(as: Float.self))
    }
  }
}

extension Tape {
  /// - Parameters:
  ///   - x: `[t, h]`, `same` over tp, or `split(0)` when the table is not trained or `whole` is given.
  ///   - table: `[n, h]`.
  ///   - whole: brings the rows of all ranks together, and how those are mixed.
  /// - Returns: `[t, h]`, placed as `x`, each of the two sums rounded once.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func addWeightedRows(
    _ x: Value, _ table: Parameter, _ mix: WeightedRows.Mix,
    whole: (rows: any RowGathering, mix: WeightedRows.Mix)? = nil
  ) throws(Fault) -> Value {
    try x.requireWholeRows(trains: table.isTrainable && whole == nil, in: WeightedRows.name)
    try require(
      x.shape == [mix.count, table.shape[1]], WeightedRows.name, x,
      "[\(mix.count), \(table.shape[1])]")
    let mixed = try Tensor(x.shape, x.dtype, on: x.tensor.engine)
    mixed.engine.combineRows(table.tensor, k: mix.k, mix.rows, weights: mix.weights, into: mixed)
    let y = try Tensor(x.shape, x.dtype, on: x.tensor.engine)
    y.engine.add(x.tensor, mixed, into: y)
    return record(
      y, x.placement, from: [x], trains: table.isTrainable,
      WeightedRows(table: table, mix: whole?.mix ?? mix, rows: whole?.rows))
  }
}
