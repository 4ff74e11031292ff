import CKernels
import Support
import Tensor

/// One pass over the trained tokens of a row, chunk by chunk: losses, and gradients if wanted.
struct CrossEntropyWork {
  let layer: VocabParallelCrossEntropy
  let tp: any Communicator
  let x: Tensor  // [t, h]
  let rows: [Int32]  // trained tokens
  let labels: VocabParallelCrossEntropy.Labels
  let seed: Float
  let differentiates: Bool
  /// The adapter of the output layer, if it has one.
  let adapter: OutputAdapter?

  private(set) var perToken: [Float] = []
  private(set) var rightTokens = 0
  private(set) var rowGradient: Tensor?  // [n, h] fp32
  private var engine: Engine { x.engine }
  private var vocabulary: Int { layer.weight.shape[0] }

  init(
    layer: VocabParallelCrossEntropy, tp: any Communicator, x: Tensor, rows: [Int32],
    labels: VocabParallelCrossEntropy.Labels, seed: Float, differentiates: Bool,
    adapter: OutputAdapter? = nil
  ) {
    self.layer = layer
    self.tp = tp
    self.x = x
    self.rows = rows
    self.labels = labels
    self.seed = seed
    self.differentiates = differentiates
    self.adapter = adapter
  }

  mutating func run() throws(Fault) {
    perToken = [Float](repeating: 0, count: labels.shifted.count)
    if differentiates { rowGradient = try Tensor([rows.count, x.rowSize], .float32, on: engine) }
    guard !engine.isPlanning else { return }
    let size = VocabParallelCrossEntropy.chunkRows
    let logits = try Tensor([min(size, rows.count), vocabulary], .float32, on: engine)
    var start = 0
    while start < rows.count {
      let range = start..<min(start + size, rows.count)
      try chunk(range, logits: logits.rowRange(0..<range.count))
      start = range.upperBound
    }
    try adapter?.finish()
    // A row without trained tokens still takes part in the step: its gradient is nothing.
    if rows.isEmpty, differentiates, let slot = try layer.weight.gradientSlot(), !slot.adds {
      engine.clear(slot.tensor)
    }
  }

  private mutating func chunk(_ range: Range<Int>, logits: Tensor) throws(Fault) {
    let c = range.count
    let xc = try Tensor([c, x.rowSize], x.dtype, on: engine)
    rows[range].withUnsafeBufferPointer { engine.gatherRows(x, $0.baseAddress!, into: xc) }
    engine.multiply(Product(.forward, xc, layer.weight.tensor, into: logits))
    let adapted = try adapter?.add(to: logits, xc, range)
    let local = rows[range].map { labels.shifted[Int($0)] - Int32(layer.firstID) }
    let maximum = try Tensor([c], .float32, on: engine)
    engine.kernel {
      ck_ce_max(
        $0, c, vocabulary, logits.pointer(as: Float.self), maximum.pointer(as: Float.self))
    }
    try tp.allReduceMax(maximum.floats)
    let (sums, targets) = try sums(logits, maximum, local)
    let seeds = try losses(range, sums, targets)
    guard differentiates else { return }
    let dz = try gradients(range, logits, maximum, sums, local, seeds, xc)
    if let adapted { try adapter?.gradients(adapted, dz) }
  }

  /// Σ exp(z − m) and z[y] − m over the whole vocabulary: `[c]` each.
  private func sums(_ logits: Tensor, _ maximum: Tensor, _ local: [Int32]) throws(Fault) -> (
    Tensor, Tensor
  ) {
    let c = logits.rows
    let parts = layer.vocabularyChunks
    let partial = try Tensor([c, parts], .float32, on: engine)
    let both = try Tensor([2, c], .float32, on: engine)
    engine.kernel {
      ck_ce_sums(
        $0, c, vocabulary, Int32(parts), logits.pointer(as: Float.self),
        maximum.pointer(as: Float.self), local, partial.pointer(as: Float.self),
        both.pointer(as: Float.self) + c)
    }
    let p = partial.pointer(as: Float.self)
    let out = both.pointer(as: Float.self)
    for row in 0..<c {
      CanonicalOrder.treeSum(p + row * parts, parts: parts, count: 1)
      out[row] = p[row * parts]
    }
    try tp.allReduce(both.floats, order: .adjacentFirst)
    return (both.rowRange(0..<1).reshaped([c]), both.rowRange(1..<2).reshaped([c]))
  }

  /// Fills in the losses of the chunk and returns the factor of each token's gradient.
  private mutating func losses(_ range: Range<Int>, _ sums: Tensor, _ targets: Tensor)
    throws(Fault) -> Tensor
  {
    let seeds = try Tensor([range.count], .float32, on: engine)
    for (i, row) in rows[range].enumerated() {
      var loss = ck_logf(sums.floats[i]) - targets.floats[i]
      var factor: Float = 1
      if labels.scalesByProbability { factor = ck_expf(-loss) }
      if let weights = labels.weights { factor *= weights[Int(row)] }
      loss *= factor
      perToken[Int(row)] = loss
      seeds.floats[i] = seed * factor
      // z[y] − m of the whole vocabulary: 0 when the label has the largest logit.
      if targets.floats[i] == 0 { rightTokens += 1 }
    }
    return seeds
  }

  /// - Returns: the gradient of the logits, `[c, v/tp]`.
  private func gradients(
    _ range: Range<Int>, _ logits: Tensor, _ maximum: Tensor, _ sums: Tensor, _ local: [Int32],
    _ seeds: Tensor, _ xc: Tensor
  ) throws(Fault) -> Tensor {
    let dz = x.dtype == .float32 ? logits : try Tensor(logits.shape, x.dtype, on: engine)
    engine.kernel {
      ck_ce_grad(
        $0, x.dtype.kernelType, range.count, vocabulary, logits.pointer(as: Float.self),
        maximum.pointer(as: Float.self), sums.pointer(as: Float.self), local,
        seeds.pointer(as: Float.self), dz.address)
    }
    if let dx = rowGradient?.rowRange(range) {
      engine.multiply(
        Product(
          .inputGradient, dz, layer.weight.tensor, into: dx, chunks: layer.vocabularyChunks))
    }
    try layer.weight.addProductGradient(dz, layer.weight.isTrainable ? xc : nil)
    return dz
  }
}
