import Checkpoint
import Model
import Support
import Tensor

// i inputs   o outputs   R sum of the ranks of a site

/// The weights of a model with an adapter merged in: w + s·B·A, added in fp32 and rounded once to
/// the type of the base, or a wanted one, one tensor at a time.
final class MergedWeights: WeightSource {
  let base: any WeightSource
  let adapter: any WeightSource
  let plan: AdapterPlan
  let engine: Engine
  /// Type of the weights; nil keeps that of the base.
  let dtype: DType?
  /// Halves of the weight that was read last; a weight is read in several runs of rows.
  private var halves: (weight: String, a: Tensor, scaledB: Tensor)?

  init(
    base: any WeightSource, adapter: any WeightSource, plan: AdapterPlan, engine: Engine,
    dtype: DType? = nil
  ) {
    self.base = base
    self.adapter = adapter
    self.plan = plan
    self.engine = engine
    self.dtype = dtype
  }

  func describe(_ name: String) throws(Fault) -> (dtype: DType, shape: [Int]) {
    let (stored, shape) = try base.describe(name)
    return (dtype ?? stored, shape)
  }

  func read(
    _ name: String, rows: Range<Int>, columns: Range<Int>,
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let (dtype, shape) = try describe(name)
    if plan.savedWeights.contains(name) {
      try readSaved(name, rows, columns, dtype, shape, into: target)
    } else {
      try readBase(name, rows, columns, as: dtype, into: target)
    }
    guard plan.sites[name] != nil, !rows.isEmpty, !columns.isEmpty else { return }
    let inputs = shape.dropFirst().reduce(1, *)
    let (a, scaledB) = try halves(of: name, inputs: inputs)
    let delta = try Tensor([rows.count, inputs], .float32, on: engine)
    engine.multiply(Product(.inputGradient, scaledB.rowRange(rows), a, into: delta))
    try add(delta, columns, to: target, dtype, name)
  }

  private func readBase(
    _ name: String, _ rows: Range<Int>, _ columns: Range<Int>, as dtype: DType,
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let stored = try base.describe(name).dtype
    guard stored != dtype else {
      return try base.read(name, rows: rows, columns: columns, into: target)
    }
    try ScratchBytes.with(rows.count * columns.count * stored.size) { (buffer) throws(Fault) in
      try base.read(name, rows: rows, columns: columns, into: buffer)
      try ElementCast(engine: engine).convert(UnsafeRawBufferPointer(buffer), stored, dtype) {
        (bytes) throws(Fault) in target.copyMemory(from: bytes)
      }
    }
  }

  /// `target += delta[:, columns]`, rounded once.
  private func add(
    _ delta: Tensor, _ columns: Range<Int>, to target: UnsafeMutableRawBufferPointer,
    _ dtype: DType, _ name: String
  ) throws(Fault) {
    let wide = try Tensor([delta.rows, columns.count], .float32, on: engine)
    let cast = ElementCast(engine: engine)
    try cast.convert(UnsafeRawBufferPointer(target), dtype, .float32) { (bytes) throws(Fault) in
      wide.bytes.copyMemory(from: bytes)
    }
    let width = delta.rowSize
    if columns.count == width {
      engine.add(wide, delta, into: wide)
    } else {
      for r in 0..<delta.rows {
        for (c, column) in columns.enumerated() {
          wide.floats[r * columns.count + c] += delta.floats[r * width + column]
        }
      }
    }
    try cast.convert(UnsafeRawBufferPointer(wide.bytes), .float32, dtype) {
      (bytes) throws(Fault) in target.copyMemory(from: bytes)
    }
  }

  private func halves(of weight: String, inputs: Int) throws(Fault) -> (a: Tensor, b: Tensor) {
    if let halves, halves.weight == weight { return (halves.a, halves.scaledB) }
    guard let site = plan.sites[weight] else {
      throw Fault(.internalError, "\(weight) has no adapter", at: .tensor(weight))
    }
    let names = AdapterNames(weight: weight)
    let columns = site.isTable ? try base.describe(weight).shape[0] : inputs
    let a = try Tensor([site.width, columns], .float32, on: engine)
    try read(names.a, into: a)
    let outputs = try adapter.describe(names.b).shape[0]
    let b = try Tensor([outputs, site.rank], .float32, on: engine)
    try read(names.b, into: b)
    guard !site.isTable else {
      try refuseTied(weight)
      let table = (a: try turned(b, by: 1), b: try turned(a, by: site.blocks[0].scale))
      halves = (weight, table.a, table.b)
      return table
    }
    let wide = try Tensor.zeros([outputs, site.width], .float32, on: engine)
    var first = 0
    for block in site.blocks {
      let scale = Float(block.scale)
      for row in block.rows.joined() {
        for j in 0..<block.rank {
          wide.floats[row * site.width + first + j] = scale * b.floats[row * site.rank + j]
        }
      }
      first += block.rank
    }
    halves = (weight, a, wide)
    return (a, wide)
  }

  /// The transpose, times a factor: a table adds s·(B·A)ᵀ.
  private func turned(_ x: Tensor, by factor: Double) throws(Fault) -> Tensor {
    let y = try Tensor([x.rowSize, x.rows], .float32, on: engine)
    for i in 0..<x.rows {
      for j in 0..<x.rowSize {
        y.floats[j * x.rows + i] = Float(factor) * x.floats[i * x.rowSize + j]
      }
    }
    return y
  }

  /// An adapter of a tied embedding changes lookups only; one table cannot hold both.
  private func refuseTied(_ weight: String) throws(Fault) {
    let output = weight.replacing("embedding.word_embeddings.", with: "output_layer.")
    guard (try? base.describe(output)) == nil else { return }
    throw Fault(
      .badAdapter, "the adapter of a tied embedding cannot be merged", at: .tensor(weight),
      expected: "an output layer of its own in the base",
      fix: "use the adapter beside the base, without --merge_lora")
  }

  /// A half in fp32, whatever it is stored in.
  private func read(_ name: String, into tensor: Tensor) throws(Fault) {
    let (dtype, shape) = try adapter.describe(name)
    guard shape.first == tensor.rows, shape.reduce(1, *) == tensor.count else {
      throw Fault(
        .badAdapter, "a half of an adapter has another shape than its model says",
        at: .tensor(name), expected: "\(tensor.shape)", found: "\(shape)")
    }
    try ScratchBytes.with(tensor.count * dtype.size) { (buffer) throws(Fault) in
      try adapter.read(name, rows: 0..<tensor.rows, columns: 0..<tensor.rowSize, into: buffer)
      try ElementCast(engine: engine).convert(UnsafeRawBufferPointer(buffer), dtype, .float32) {
        (bytes) throws(Fault) in tensor.bytes.copyMemory(from: bytes)
      }
    }
  }

  /// A weight that was trained whole takes the place of the base's.
  private func readSaved(
    _ name: String, _ rows: Range<Int>, _ columns: Range<Int>, _ dtype: DType, _ shape: [Int],
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    let (stored, found) = try adapter.describe(name)
    guard found == shape else {
      throw Fault(
        .badAdapter, "a weight stored with the adapter does not fit the model", at: .tensor(name),
        expected: "\(shape)", found: "\(found)")
    }
    try ScratchBytes.with(rows.count * columns.count * stored.size) { (buffer) throws(Fault) in
      try adapter.read(name, rows: rows, columns: columns, into: buffer)
      try ElementCast(engine: engine).convert(UnsafeRawBufferPointer(buffer), stored, dtype) {
        (bytes) throws(Fault) in target.copyMemory(from: bytes)
      }
    }
  }
}
