import Support
import Tensor
import Testing

/// Finite differences of the operations of the vision tower.
@Suite struct VisionOperationTests {
  private let engine: Engine
  init() throws { engine = try Engine(threads: 2) }

  private func weight(_ name: String, _ shape: [Int], _ draw: inout Draw) throws -> Parameter {
    let parameter = try Parameter(name, .whole(shape), .float32, on: engine)
    let values = try Tensor(draw.floats(shape.reduce(1, *)), shape, on: engine)
    parameter.tensor = values
    return parameter
  }

  @Test("layerNorm: rows, weight and bias", arguments: [1, 2]) func layerNorm(seed: Int) throws {
    var draw = Draw(seed)
    let (t, h) = (draw.int(1...5), draw.int(3...20))
    let (w, b) = (try weight("w", [h], &draw), try weight("b", [h], &draw))
    let x = try Tensor(draw.floats(t * h), [t, h], on: engine)
    try checkGradient(of: [x], parameters: [w, b], seed: seed) { (v, tape) throws(Fault) in
      try tape.layerNorm(v[0], w, b, epsilon: 1e-3)
    }
  }

  @Test("gelu in both forms", arguments: [1, 2]) func gelu(seed: Int) throws {
    var draw = Draw(seed)
    let x = try Tensor(draw.floats(21, scale: 1.5), [3, 7], on: engine)
    for form in [GELU.Form.tanh, .exact] {
      try checkGradient(of: [x], seed: seed) { (v, tape) throws(Fault) in
        try tape.gelu(v[0], form)
      }
    }
  }

  @Test("affine: input, weight of any rank and bias", arguments: [1, 2]) func affine(seed: Int)
    throws
  {
    var draw = Draw(seed)
    let (t, o) = (draw.int(1...6), draw.int(1...9))
    let (w, b) = (try weight("w", [o, 2, 3], &draw), try weight("b", [o], &draw))
    let x = try Tensor(draw.floats(t * 6), [t, 6], on: engine)
    try checkGradient(of: [x], parameters: [w, b], seed: seed) { (v, tape) throws(Fault) in
      try tape.affine(v[0], w, b)
    }
  }

  @Test("rotaryEmbedding turns queries and keys and leaves values") func rotary() throws {
    var draw = Draw(3)
    let heads = FusedHeads(groups: 2, ratio: 1, d: 12)
    let x = try Tensor(draw.floats(3 * heads.rowSize), [3, heads.rowSize], on: engine)
    let angles = draw.floats(18)
    let cos = try Tensor(angles.map { Float.cosine($0) }, [3, 6], on: engine)
    let sin = try Tensor(angles.map { Float.sine($0) }, [3, 6], on: engine)
    let table = RotaryAngles(cos: cos, sin: sin)
    try checkGradient(of: [x], seed: 3) { (v, tape) throws(Fault) in
      try tape.rotaryEmbedding(v[0], heads, table)
    }
    let turned = try Tape().rotaryEmbedding(Value(x), heads, table).tensor.values
    let values = x.values
    for t in 0..<3 {
      let place = t * heads.rowSize + 24..<t * heads.rowSize + 36
      #expect(turned[place] == values[place])
    }
  }

  @Test("attention without a mask, of head sizes like 12 and 72", arguments: [12, 72])
  func attention(d: Int) throws {
    var draw = Draw(d)
    let heads = FusedHeads(groups: 2, ratio: 1, d: d)
    let layout = try SequenceLayout(starts: [0, 3, 4, 6], realTokens: 6, on: engine)
    let x = try Tensor(draw.floats(6 * heads.rowSize), [6, heads.rowSize], on: engine)
    try checkGradient(of: [x], seed: d) { (v, tape) throws(Fault) in
      try tape.attention(v[0], heads, layout, causal: false)
    }
  }

  @Test("weightedRows: value and table, rows used often") func weightedRows() throws {
    var draw = Draw(5)
    let table = try weight("table", [4, 5], &draw)
    let rows: [Int32] = [0, 1, 2, 3, 1, 1, 1, 1, 3, 2, 0, 0]
    let mix = WeightedRows.Mix(k: 4, rows: rows, weights: draw.floats(12))
    let x = try Tensor(draw.floats(15), [3, 5], on: engine)
    try checkGradient(of: [x], parameters: [table], seed: 5) { (v, tape) throws(Fault) in
      try tape.addWeightedRows(v[0], table, mix)
    }
  }

  @Test("place: rows replaced and added to") func place() throws {
    var draw = Draw(6)
    let x = try Tensor(draw.floats(20), [5, 4], on: engine)
    let v = try Tensor(draw.floats(8), [2, 4], on: engine)
    for kind in [PlacedRows.Kind.replace, .add] {
      try checkGradient(of: [x, v], seed: 6) { (inputs, tape) throws(Fault) in
        try tape.place(kind, inputs[1], at: [1, 4], of: inputs[0])
      }
    }
  }

  @Test("joinRows makes neighbours one row") func join() throws {
    var draw = Draw(7)
    let x = try Tensor(draw.floats(24), [6, 4], on: engine)
    try checkGradient(of: [x], seed: 7) { (v, tape) throws(Fault) in
      try tape.joinRows(v[0], count: 3)
    }
    let faulty = #expect(throws: Fault.self) { _ = try Tape().joinRows(Value(x), count: 4) }
    #expect(faulty?.code == .badShape)
  }

  @Test("a recomputed block of several inputs gives each its gradient") func recompute() throws {
    var draw = Draw(8)
    let a = try Tensor(draw.floats(8), [2, 4], on: engine)
    let b = try Tensor(draw.floats(4), [1, 4], on: engine)
    try checkGradient(of: [a, b], seed: 8) { (v, tape) throws(Fault) in
      try tape.recompute(v, trains: false) { (v, tape) throws(Fault) in
        try tape.place(.add, v[1], at: [1], of: try tape.gelu(v[0], .tanh))
      }
    }
  }

  @Test("a trained weight refuses rows that lie on several ranks") func placement() throws {
    var draw = Draw(9)
    let (w, b) = (try weight("w", [4], &draw), try weight("b", [4], &draw))
    let x = Value(try Tensor(draw.floats(8), [2, 4], on: engine), Placement(tp: .split(0)))
    let fault = #expect(throws: Fault.self) { _ = try Tape().layerNorm(x, w, b, epsilon: 1e-6) }
    #expect(fault?.code == .badPlacement)
    w.isTrainable = false
    b.isTrainable = false
    #expect(try Tape().layerNorm(x, w, b, epsilon: 1e-6).placement.tp == .split(0))
  }
}
