import Support
import Tensor

// R rows of this rank's experts, in their order   i inputs   o outputs   r sum of ranks of a pair

/// Adapters of one matrix of every expert of this rank, applied to the rows as they were dispatched:
/// all products of one kind are one list of tiles, and no matrix of the size of an expert is formed.
struct ExpertAdapters: Sendable {
  let pairs: [LowRankPair]

  /// nil when the experts have none.
  init?(_ pairs: [LowRankPair]) {
    guard !pairs.isEmpty else { return nil }
    self.pairs = pairs
  }

  var trains: Bool { pairs.contains(where: \.isTrainable) }
  var dtype: DType { pairs[0].dtype }
  var width: Int { pairs[0].width }

  /// Rows with the dropout of each expert's adapter, in the adapters' type.
  func input(_ x: Tensor, _ routing: Routing, _ keys: RowKeys?) throws(Fault) -> Tensor {
    let converted = try x.converted(to: dtype)
    guard let keys, pairs[0].dropout > 0 else { return converted }
    let out = try Tensor(converted.shape, dtype, on: x.engine)
    drop(converted, routing, keys, into: out)
    return out
  }

  private func drop(_ x: Tensor, _ routing: Routing, _ keys: RowKeys, into out: Tensor) {
    for (e, rows) in routing.ownRows where !x.engine.isPlanning {
      pairs[e].drop(x.rowRange(rows), keys.keys[rows], into: out.rowRange(rows))
    }
  }

  /// `x · Aᵀ`: `[R, r]`, in the adapters' type or, of split inputs, an fp32 summand.
  func down(_ x: Tensor, _ routing: Routing, inputChunks: Int? = nil) throws(Fault) -> Tensor {
    let u = try Tensor([x.rows, width], inputChunks == nil ? dtype : .float32, on: x.engine)
    x.engine.multiply(
      routing.ownRows.map { e, rows in
        Product(
          .forward, x.rowRange(rows), pairs[e].a.tensor, into: u.rowRange(rows),
          chunks: inputChunks ?? 1)
      })
    return u
  }

  /// `y += u · (s·B)ᵀ`.
  func addUp(_ u: Tensor, to y: Tensor, _ routing: Routing) throws(Fault) {
    let wide = try scaledBs(routing)
    y.engine.multiply(
      zip(routing.ownRows, wide).map { own, b in
        Product(.forward, u.rowRange(own.rows), b, into: y.rowRange(own.rows), adds: true)
      })
  }

  /// `dy · s·B`: `[R, r]`, in the adapters' type or, of split outputs, an fp32 summand.
  func narrowGradient(_ dy: Tensor, _ routing: Routing, outputChunks: Int? = nil) throws(Fault)
    -> Tensor
  {
    let du = try Tensor([dy.rows, width], outputChunks == nil ? dtype : .float32, on: dy.engine)
    let wide = try scaledBs(routing)
    dy.engine.multiply(
      zip(routing.ownRows, wide).map { own, b in
        Product(
          .inputGradient, dy.rowRange(own.rows), b, into: du.rowRange(own.rows),
          chunks: outputChunks ?? 1)
      })
    return du
  }

  /// `dx += drop(du · A)`.
  func addInputGradient(
    _ du: Tensor, to dx: Tensor, _ routing: Routing, _ keys: RowKeys?
  ) throws(Fault) {
    let drops = keys != nil && pairs[0].dropout > 0
    let own = drops ? try Tensor(dx.shape, dx.dtype, on: dx.engine) : dx
    dx.engine.multiply(
      routing.ownRows.map { e, rows in
        Product(
          .inputGradient, du.rowRange(rows), pairs[e].a.tensor, into: own.rowRange(rows),
          adds: !drops)
      })
    if drops, let keys {
      drop(own, routing, keys, into: own)
      dx.engine.add(dx, own, into: dx)
    }
  }

  private func scaledBs(_ routing: Routing) throws(Fault) -> [Tensor] {
    var result: [Tensor] = []
    for (e, _) in routing.ownRows { result.append(try pairs[e].scaledB()) }
    return result
  }

  /// `dA = duᵀ · x` and `dB = s · dyᵀ · u` of every expert; one without rows gets zeros.
  func addWeightGradients(
    du: Tensor, x: Tensor, dy: Tensor, u: Tensor, _ routing: Routing
  ) throws(Fault) {
    try addGradients(of: pairs.map(\.a), du, x, routing) { _, sum in sum }
    try addGradients(of: pairs.map(\.b), dy, u, routing) { (e, sum) throws(Fault) in
      try pairs[e].gradientOfB(sum)
    }
  }

  /// Each expert's (and where they are kept apart, each source's) rows into its own sum.
  private func addGradients(
    of weights: [Parameter], _ dy: Tensor, _ x: Tensor, _ routing: Routing,
    _ shaped: (Int, Tensor) throws(Fault) -> Tensor
  ) throws(Fault) {
    guard weights.contains(where: \.isTrainable) else { return }
    var products: [Product] = []
    var sums: [(expert: Int, lane: Int?, sum: Tensor)] = []
    for e in weights.indices {
      for (lane, rows) in routing.gradientRuns(expert: e, lanes: weights[e].lanes.count) {
        let sum = try Tensor.zeros([dy.rowSize, x.rowSize], .float32, on: dy.engine)
        sums.append((e, lane, sum))
        if rows.isEmpty { continue }
        products.append(
          Product(.weightGradient, dy.rowRange(rows), x.rowRange(rows), into: sum))
      }
    }
    dy.engine.multiply(products)
    for (e, lane, sum) in sums {
      let gradient = try shaped(e, sum)
      guard let lane else {
        try weights[e].addGradient(gradient)
        continue
      }
      if let slot = weights[e].gradientSlot(lane: lane) { gradient.addTo(slot) }
    }
  }
}

extension Routing {
  /// Experts of this rank that have rows, with the rows in the order of the experts.
  var ownRows: [(expert: Int, rows: Range<Int>)] {
    (0..<expertOffsets.count - 1).compactMap { e in
      let rows = expertOffsets[e]..<expertOffsets[e + 1]
      return rows.isEmpty ? nil : (e, rows)
    }
  }

  /// Rows of an expert by the sum their gradient goes to.
  func gradientRuns(expert e: Int, lanes: Int) -> [(lane: Int?, rows: Range<Int>)] {
    guard lanes > 0, !laneOffsets.isEmpty else {
      return [(nil, expertOffsets[e]..<expertOffsets[e + 1])]
    }
    return (0..<lanes).map { ($0, laneOffsets[e][$0]..<laneOffsets[e][$0 + 1]) }
  }
}
