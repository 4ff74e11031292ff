import Support
import Tensor
import Testing

/// Every operation's backward pass against finite differences, in fp32.
@Suite struct OperationGradientTests {
  let engine: Engine
  init() throws { engine = try Engine() }

  @Test("rmsNorm: input and weight", arguments: [1, 2, 3]) func rmsNorm(seed: Int) throws {
    var draw = Draw(seed)
    let (t, h) = (draw.int(1...9), draw.int(2...21))
    let w = try weight("w", [h], &draw, on: engine)
    let x = try Tensor(draw.floats(t * h), [t, h], on: engine)
    try checkGradient(of: [x], parameters: [w], seed: seed) { (v, tape) throws(Fault) in
      try tape.rmsNorm(v[0], w, epsilon: 1e-6, rowsPerPart: 2)
    }
  }

  @Test("columnLinear and rowLinear", arguments: [1, 2, 3]) func linear(seed: Int) throws {
    var draw = Draw(seed)
    let (t, i, o) = (draw.int(1...7), 4 * draw.int(1...5), 2 * draw.int(1...6))
    let w = try weight("w", [o, i], &draw, on: engine)
    let x = try Tensor(draw.floats(t * i), [t, i], on: engine)
    try checkGradient(of: [x], parameters: [w], seed: seed) { (v, tape) throws(Fault) in
      try tape.columnLinear(v[0].placed(.copied), w, outputChunks: 2)
    }
    try checkGradient(of: [x], parameters: [w], seed: seed) { (v, tape) throws(Fault) in
      try tape.rowLinear(v[0].placed(.split(1)), w, inputChunks: 4)
    }
  }

  @Test("qkNormRotary: row and both norms", arguments: [1, 2]) func rotary(seed: Int) throws {
    var draw = Draw(seed)
    let heads = FusedHeads(groups: 2, ratio: draw.int(1...3), d: 4 * draw.int(1...3))
    let t = draw.int(1...5)
    let q = try weight("q", [heads.d], &draw, on: engine)
    let k = try weight("k", [heads.d], &draw, on: engine)
    let x = try Tensor(draw.floats(t * heads.rowSize), [t, heads.rowSize], on: engine)
    let angles = draw.floats(t * heads.d / 2)
    let shape = [t, heads.d / 2]
    let cos = try Tensor(angles.map { Float.cosine($0) }, shape, on: engine)
    let sin = try Tensor(angles.map { Float.sine($0) }, shape, on: engine)
    let norms = QKNorms(query: q, key: k, epsilon: 1e-6, groupsPerPart: 1, exchange: nil)
    try checkGradient(of: [x], parameters: [q, k], seed: seed) { (v, tape) throws(Fault) in
      try tape.qkNormRotary(
        v[0].placed(.split(1)), heads, norms, RotaryAngles(cos: cos, sin: sin))
    }
  }

  @Test("attention over packed documents", arguments: [1, 2, 3]) func attention(seed: Int) throws {
    var draw = Draw(seed)
    let heads = FusedHeads(groups: draw.int(1...2), ratio: draw.int(1...2), d: 4 * draw.int(1...2))
    let lengths = [draw.int(1...5), draw.int(1...4), 1]
    let starts = lengths.reduce(into: [Int32(0)]) { $0.append($0[$0.count - 1] + Int32($1)) }
    let t = lengths.reduce(0, +)
    let layout = try SequenceLayout(starts: starts, realTokens: t, on: engine)
    let x = try Tensor(draw.floats(t * heads.rowSize), [t, heads.rowSize], on: engine)
    try checkGradient(of: [x], seed: seed) { (v, tape) throws(Fault) in
      try tape.attention(v[0].placed(.split(1)), heads, layout)
    }
  }

  @Test("swiGLU in several parts", arguments: [1, 2]) func swiGLU(seed: Int) throws {
    var draw = Draw(seed)
    let parts = draw.int(1...3)
    let (t, f) = (draw.int(1...6), parts * draw.int(1...7))
    let x = try Tensor(draw.floats(t * 2 * f), [t, 2 * f], on: engine)
    try checkGradient(of: [x], seed: seed) { (v, tape) throws(Fault) in
      try tape.swiGLU(v[0].placed(.split(1)), parts: parts)
    }
  }

  @Test("a value used twice gets both gradients") func sums() throws {
    let x = try Tensor([1, -2, 3], [1, 3], on: engine)
    try checkGradient(of: [x], seed: 5) { (v, tape) throws(Fault) in
      try tape.add(v[0], v[0])
    }
  }
}

extension Value {
  /// The same value in another state over tp, for operations tested alone.
  func placed(_ state: AxisState) -> Value {
    Value(tensor, placement.with(.tp, state), node: node)
  }
}

extension Float {
  static func cosine(_ x: Float) -> Float { Float(Double(x).cosineByDouble) }
  static func sine(_ x: Float) -> Float { Float(Double(x).sineByDouble) }
}
