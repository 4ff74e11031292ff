import Support
import Tensor

// t tokens   i inputs   o outputs   R sum of ranks   x/tp the local part of x

/// How a sum over rows is cut: in runs of `rowsPerRun`, added as a tree over runs and then over the
/// ranks that hold the other rows. Every layout of the rows gives the same bits.
struct RowTree: Sendable {
  let rowsPerRun: Int
  let exchange: (any RowSumExchange)?

  init(_ setting: Setting) {
    rowsPerRun = setting.rowsPerPart
    exchange = setting.rowExchange
  }

  /// `dyᵀ · x` over all rows of the micro-batch, fp32.
  func product(_ dy: Tensor, _ x: Tensor) throws(Fault) -> Tensor {
    let engine = x.engine
    let runs = max(1, (x.rows + rowsPerRun - 1) / rowsPerRun)
    let sums = try Tensor([runs, dy.rowSize * x.rowSize], .float32, on: engine)
    guard !engine.isPlanning else { return sums.rowRange(0..<1) }
    engine.multiply(
      (0..<runs).map { run in
        let rows = run * rowsPerRun..<min((run + 1) * rowsPerRun, x.rows)
        return Product(
          .weightGradient, dy.rowRange(rows), x.rowRange(rows),
          into: sums.rowRange(run..<run + 1).reshaped([dy.rowSize, x.rowSize]))
      })
    CanonicalOrder.treeSum(sums.pointer(as: Float.self), parts: runs, count: sums.rowSize)
    let total = sums.rowRange(0..<1)
    try exchange?.sum(total.floats)
    return total.reshaped([dy.rowSize, x.rowSize])
  }
}

/// `dyᵀ · x`, fp32: by the tree, or without one as a chain over rows, which then every rank holds in
/// every layout.
func weightProduct(_ dy: Tensor, _ x: Tensor, _ tree: RowTree?) throws(Fault) -> Tensor {
  if let tree { return try tree.product(dy, x) }
  let sum = try Tensor([dy.rowSize, x.rowSize], .float32, on: x.engine)
  x.engine.multiply(Product(.weightGradient, dy, x, into: sum))
  return sum
}

/// The narrow half of an adapter.
///
///     u[t, R] = drop(x)[t, i] · A[R, i]ᵀ       dx = drop(du · A)       dA = duᵀ · drop(x)
///
/// The mask is drawn again in the backward pass, so the kept input is the one others keep.
struct AdapterDown: Operation {
  static let name: StaticString = "adapterDown"
  /// nil when A is frozen.
  let x: SavedTensor?
  let xType: DType
  let pair: LowRankPair
  let keys: RowKeys?
  /// nil: the rows lie whole on this rank in every layout.
  let tree: RowTree?

  var savedBytes: Int { x?.savedBytes ?? 0 }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let du = try dy.converted(to: pair.dtype)
    if let x {
      let input = try pair.input(try x.tensor(), keys)
      try pair.a.addGradient(try weightProduct(du, input, tree))
    }
    return [wanting.contains(0) ? try pair.inputGradient(du, as: xType, keys) : nil]
  }
}

/// The wide half: adds to the base's output in its memory.
///
///     y[t, o] += u[t, R] · (s·B)[o, R]ᵀ        du = dy · s·B        dB = s · dyᵀ · u
struct AdapterUp: Operation {
  static let name: StaticString = "adapterUp"
  let u: Tensor
  let pair: LowRankPair
  /// Canonical chunks of this rank's outputs; nil when it has them all.
  let outputChunks: Int?
  let tree: RowTree?

  var savedBytes: Int { u.byteCount }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    let narrow = try dy.converted(to: pair.dtype)
    if pair.b.isTrainable {
      let sum = try weightProduct(narrow, u, tree)
      try pair.b.addGradient(try pair.gradientOfB(sum))
    }
    guard wanting.contains(1) else { return [wanting.contains(0) ? dy : nil, nil] }
    let du = try Tensor(
      [dy.rows, pair.width], outputChunks == nil ? pair.dtype : .float32, on: dy.engine)
    dy.engine.multiply(
      Product(.inputGradient, narrow, try pair.scaledB(), into: du, chunks: outputChunks ?? 1))
    return [wanting.contains(0) ? dy : nil, du]
  }
}

extension Context {
  /// Adds an adapter to a linear map whose outputs are split over tp.
  ///
  /// A runs on this rank's rows; only `[t, R]` values travel.
  /// - Parameters:
  ///   - x: the input before it enters the layer: `[t, i]` `same`, or `[t/tp, i]` `split(0)`.
  ///   - y: the base's output `[t, o/tp]`, `split(1)`; its memory is used for the result.
  ///   - outputChunks: canonical chunks of this rank's outputs.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  /// - Communication (tp): with sequence parallelism a gather of `t·R` and a reduce-scatter back,
  ///   else a backward all-reduce of `t·R`; sums of `R·i` fp32 over rows.
  public func adapted(
    column y: Value, _ pair: LowRankPair, _ x: Value, recipe: (any Recipe)?, outputChunks: Int
  ) throws(Fault) -> Value {
    try x.require(.tp, [setting.sequenceParallel ? .split(0) : .same], in: "adapter of a column")
    let keys = rowKeys(pair, setting.ownRows)
    let own = try down(x, pair, keys, recipe: recipe, tree: RowTree(setting))
    let u = setting.sequenceParallel ? try gatherRows(own) : try enterRegion(own)
    return try up(y, pair, u, outputChunks: outputChunks, tree: nil)
  }

  /// Adds an adapter to a linear map whose inputs are split over tp.
  /// - Parameters:
  ///   - x: `[t, i/tp]`, `split(1)`.
  ///   - y: the base's output, summed over ranks: `[t, o]` `same`, or `[t/tp, o]` `split(0)`.
  ///   - inputChunks: canonical chunks of this rank's inputs.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  /// - Communication (tp): an all-reduce (or reduce-scatter) of `t·R` fp32; sums of `o·R` fp32.
  public func adapted(
    row y: Value, _ pair: LowRankPair, _ x: Value, inputChunks: Int
  ) throws(Fault) -> Value {
    try x.require(.tp, [.split(1)], in: "adapter of a row")
    let keys = rowKeys(pair, 0..<setting.layout.tokens)
    let partial = try down(x, pair, keys, recipe: nil, tree: nil, inputChunks: inputChunks)
    let u = try leaveRegion(partial, as: pair.dtype)
    return try up(y, pair, u, outputChunks: nil, tree: RowTree(setting))
  }

  /// Adds an adapter to a linear map that is whole on every rank (the vision tower).
  /// - Parameters:
  ///   - x: `[t, i]` `same`, or `split(0)` when neither half is trained.
  ///   - y: the base's output `[t, o]`, placed as `x`; its memory is used for the result.
  /// - Throws: `SHAPE-101`, `PLACE-201`.
  public func adapted(whole y: Value, _ pair: LowRankPair, _ x: Value) throws(Fault) -> Value {
    try x.requireWholeRows(trains: pair.isTrainable, in: "adapter of a whole map")
    let keys = rowKeys(pair, 0..<x.tensor.rows)
    let u = try down(x, pair, keys, recipe: nil, tree: nil)
    return try up(y, pair, u, outputChunks: nil, tree: nil)
  }

  func rowKeys(_ pair: LowRankPair, _ rows: Range<Int>) -> RowKeys? {
    guard pair.dropout > 0, let microBatch = setting.dropoutKey else { return nil }
    return RowKeys(rows, of: microBatch)
  }

  /// - Parameter inputChunks: the inputs are split: the result is an fp32 summand.
  private func down(
    _ x: Value, _ pair: LowRankPair, _ keys: RowKeys?, recipe: (any Recipe)?, tree: RowTree?,
    inputChunks: Int? = nil
  ) throws(Fault) -> Value {
    guard x.tensor.rowSize == pair.a.tensor.rowSize else {
      throw Fault(
        .badShape, "the adapter \(pair.a.name) has another width than its input",
        expected: "[t, \(pair.a.tensor.rowSize)]", found: "\(x.shape)")
    }
    let engine = x.tensor.engine
    let u = try Tensor(
      [x.tensor.rows, pair.width], inputChunks == nil ? pair.dtype : .float32, on: engine)
    engine.multiply(
      Product(
        .forward, try pair.input(x.tensor, keys), pair.a.tensor, into: u, chunks: inputChunks ?? 1))
    return tape.record(
      u, inputChunks == nil ? x.placement : x.placement.with(.tp, .partial), from: [x],
      trains: pair.a.isTrainable,
      AdapterDown(
        x: pair.a.isTrainable ? SavedTensor(x.tensor, recipe: recipe) : nil, xType: x.dtype,
        pair: pair, keys: keys, tree: tree))
  }

  func up(
    _ y: Value, _ pair: LowRankPair, _ u: Value, outputChunks: Int?, tree: RowTree?
  ) throws(Fault) -> Value {
    y.tensor.engine.multiply(
      Product(.forward, u.tensor, try pair.scaledB(), into: y.tensor, adds: true))
    return tape.record(
      y.tensor, y.placement, from: [y, u], trains: pair.b.isTrainable,
      AdapterUp(u: u.tensor, pair: pair, outputChunks: outputChunks, tree: tree))
  }
}
