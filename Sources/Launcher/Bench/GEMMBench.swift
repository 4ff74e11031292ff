import Support
import Tensor

/// Products of a linear layer: forward, input gradient, weight gradient added in fp32.
struct GEMMBench {
  let bench: BenchContext
  init(_ bench: BenchContext) { self.bench = bench }

  private struct Shape {
    let m: Int
    let n: Int
    let k: Int
    var json: JSONObject {
      JSONObject([("m", JSONValue(m)), ("n", JSONValue(n)), ("k", JSONValue(k))])
    }
  }

  /// The projections of a model of hidden size 2048, a vision layer, and the given sizes.
  private var shapes: [Shape] {
    let flags = bench.options.bench
    if flags.m != nil || flags.n != nil || flags.k != nil {
      return [Shape(m: flags.m ?? 1024, n: flags.n ?? 2048, k: flags.k ?? 2048)]
    }
    return [
      Shape(m: 4096, n: 5120, k: 2048), Shape(m: 1024, n: 5120, k: 2048),
      Shape(m: 1024, n: 2048, k: 4096), Shape(m: 1024, n: 4304, k: 1152),
    ]
  }

  func run() throws(Fault) {
    for type in bench.types {
      for shape in shapes { try measure(shape, type) }
    }
  }

  private func measure(_ shape: Shape, _ type: DType) throws(Fault) {
    let engine = bench.engine
    let x = try Tensor.noise([shape.m, shape.k], type, on: engine)
    let weight = try Tensor.noise([shape.n, shape.k], type, on: engine)
    let y = try Tensor.noise([shape.m, shape.n], type, on: engine)
    let dx = try Tensor([shape.m, shape.k], type, on: engine)
    let dw = try Tensor.zeros([shape.n, shape.k], .float32, on: engine)
    let operations = 2 * Double(shape.m) * Double(shape.n) * Double(shape.k)
    let products = [
      ("forward", Product(.forward, x, weight, into: y)),
      ("input_gradient", Product(.inputGradient, y, weight, into: dx)),
      ("weight_gradient", Product(.weightGradient, y, x, into: dw, adds: true)),
    ]
    for (name, product) in products {
      let timing = bench.measure { engine.multiply(product) }
      try bench.say("gemm", name, type, shape.json, timing, operations: operations)
    }
  }
}

/// Products of experts: as many rows for each, gathered from a common buffer.
struct GroupedBench {
  let bench: BenchContext
  init(_ bench: BenchContext) { self.bench = bench }

  func run() throws(Fault) {
    let flags = bench.options.bench
    let sizes =
      flags.n == nil && flags.k == nil
      ? [(1536, 2048), (2048, 768)] : [(flags.n ?? 1536, flags.k ?? 2048)]
    for (n, k) in sizes { try measure(flags.experts, rows: flags.rows, n: n, k: k) }
  }

  private func measure(_ experts: Int, rows: Int, n: Int, k: Int) throws(Fault) {
    let engine = bench.engine
    let type = bench.type
    let all = experts * rows
    let x = try Tensor.noise([all, k], type, on: engine)
    let y = try Tensor.noise([all, n], type, on: engine)
    let dx = try Tensor([all, k], type, on: engine)
    var weights: [Tensor] = []
    var gradients: [Tensor] = []
    for _ in 0..<experts {
      weights.append(try Tensor.noise([n, k], type, on: engine))
      gradients.append(try Tensor.zeros([n, k], .float32, on: engine))
    }
    // Row i of expert e lies at i·experts + e: neighbours in the buffer belong to other experts.
    let order = try Tensor(
      (0..<all).map { Int32($0 % rows * experts + $0 / rows) }, on: engine)
    let index = UnsafePointer(order.pointer(as: Int32.self))
    let parts = (0..<experts).map { $0 * rows..<($0 + 1) * rows }
    let forward = parts.enumerated().map { e, range in
      var product = Product(.forward, x, weights[e], into: y.rowRange(range))
      product.rows = index + range.lowerBound
      product.rowCount = rows
      return product
    }
    let back = parts.enumerated().map { e, range in
      Product(.inputGradient, y.rowRange(range), weights[e], into: dx.rowRange(range))
    }
    let weight = parts.enumerated().map { e, range in
      var product = Product(
        .weightGradient, y.rowRange(range), x, into: gradients[e], adds: true)
      product.rows = index + range.lowerBound
      return product
    }
    let shape = JSONObject([
      ("experts", JSONValue(experts)), ("rows", JSONValue(rows)), ("n", JSONValue(n)),
      ("k", JSONValue(k)),
    ])
    let operations = 2 * Double(all) * Double(n) * Double(k)
    for (name, list) in [
      ("forward", forward), ("input_gradient", back), ("weight_gradient", weight),
    ] {
      let timing = bench.measure { engine.multiply(list) }
      try bench.say("grouped", name, type, shape, timing, operations: operations)
    }
  }
}

extension Tensor {
  /// Numbers of mean 0 and a magnitude of about 1, the same on every call.
  static func noise(_ shape: [Int], _ dtype: DType, on engine: Engine) throws(Fault) -> Tensor {
    let tensor = try Tensor(shape, dtype, on: engine)
    guard !engine.isPlanning else { return tensor }
    let random = CounterRandom(seed: 3, purpose: "bench")
    let period = 8191
    for i in 0..<min(period, tensor.count) {
      let value = Float(2 * random.uniform(i) - 1)
      if dtype == .float32 {
        tensor.pointer(as: Float.self)[i] = value
      } else {
        tensor.pointer(as: UInt16.self)[i] = BF16(value).bits
      }
    }
    // The rest repeats it: the kernels do not look.
    var done = min(period, tensor.count)
    while done < tensor.count {
      let next = min(done, tensor.count - done)
      (tensor.address + done * dtype.size).copyMemory(
        from: tensor.address, byteCount: next * dtype.size)
      done += next
    }
    return tensor
  }
}
