import Support

/// Values put in place of some rows, or added to them.
///
///     y = x; y[rows[j]] = v[j]      dx = dy with these rows zero      dv[j] = dy[rows[j]]
///     y = x; y[rows[j]] += v[j]     dx = dy                           dv[j] = dy[rows[j]]
public struct PlacedRows: Operation {
  public static let name: StaticString = "placedRows"
  public enum Kind: Sendable { case replace, add }
  let kind: Kind
  let rows: [Int32]

  public var savedBytes: Int { 0 }

  public func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    var dv: Tensor?
    if wanting.contains(1) {
      let picked = try Tensor([rows.count, dy.rowSize], dy.dtype, on: dy.engine)
      dy.engine.gatherRows(dy, rows, into: picked)
      dv = picked
    }
    guard wanting.contains(0) else { return [nil, dv] }
    guard kind == .replace else { return [dy, dv] }
    let dx = try dy.copy()
    if !dx.engine.isPlanning {
      for row in rows { dx.rowRange(Int(row)..<Int(row) + 1).clear() }
    }
    return [dx, dv]
  }
}

extension Tape {
  /// - Parameters:
  ///   - x: `[t, h]`.
  ///   - rows: different rows of `x`.
  ///   - values: `[rows.count, h]`, of the same type and placed as `x` (`same`, or each rank the rows
  ///     that it has).
  /// - Returns: `[t, h]`, placed as `x`.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func place(
    _ kind: PlacedRows.Kind, _ values: Value, at rows: [Int32], of x: Value
  ) throws(Fault) -> Value {
    try x.require(.tp, [.same, .split(0)], in: PlacedRows.name)
    try values.require(.tp, [x.placement.tp], in: PlacedRows.name, hint: "both must lie alike")
    try require(
      values.shape == [rows.count, x.tensor.rowSize] && values.dtype == x.dtype, PlacedRows.name,
      values, "[\(rows.count), \(x.tensor.rowSize)] \(x.dtype.rawValue)")
    let y = try x.tensor.copy()
    if !y.engine.isPlanning {
      for (j, row) in rows.enumerated() {
        let target = y.rowRange(Int(row)..<Int(row) + 1)
        let value = values.tensor.rowRange(j..<j + 1)
        switch kind {
        case .replace: target.bytes.copyMemory(from: UnsafeRawBufferPointer(value.bytes))
        case .add: y.engine.add(target, value, into: target)
        }
      }
    }
    return record(y, x.placement, from: [x, values], PlacedRows(kind: kind, rows: rows))
  }
}
