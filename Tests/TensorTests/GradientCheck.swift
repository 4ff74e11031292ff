import Support
import Tensor
import Testing

/// Random numbers for tests: the seed is in the failure text.
struct Draw {
  private let random: CounterRandom
  private var at = 0
  let seed: Int
  init(_ seed: Int) {
    self.seed = seed
    random = CounterRandom(seed: UInt64(seed), purpose: "test")
  }
  mutating func floats(_ count: Int, scale: Float = 1) -> [Float] {
    defer { at += count }
    return (0..<count).map { Float(random.normal(at + $0)) * scale }
  }
  mutating func int(_ range: ClosedRange<Int>) -> Int {
    defer { at += 1 }
    return range.lowerBound + Int(random.uniform(at) * Double(range.count))
  }
}

/// Compares the tape's gradients of `Σ weight · f(x)` with central differences.
/// - Parameters:
///   - parameters: weights whose gradients are checked too.
///   - places: how many elements of each tensor are tried.
func checkGradient(
  of inputs: [Tensor], parameters: [Parameter] = [], seed: Int, step: Float = 1e-2,
  tolerance: Float = 2e-2, _ f: ([Value], Tape) throws(Fault) -> Value
) throws {
  var draw = Draw(seed)
  let engine = inputs[0].engine
  for parameter in parameters {
    parameter.gradient = try Tensor.zeros(parameter.shape, .float32, on: engine)
    parameter.hasGradient = false
  }
  let tape = Tape()
  let leaves = inputs.map { tape.leaf($0, Placement(tp: .same)) }
  let y = try f(leaves, tape)
  let weights = draw.floats(y.tensor.count)
  try tape.seed(y, with: try Tensor(weights, y.shape, on: engine))
  try tape.backward()
  func value() throws -> Double {
    let silent = Tape(recording: false)
    let y = try f(inputs.map { Value($0) }, silent)
    return zip(y.tensor.values, weights).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
  }
  func compare(_ tensor: Tensor, _ gradient: Tensor?, _ name: String) throws {
    let gradient = try #require(gradient, "no gradient for \(name)")
    for _ in 0..<min(12, tensor.count) {
      let i = draw.int(0...tensor.count - 1)
      let old = tensor.floats[i]
      tensor.floats[i] = old + step
      let up = try value()
      tensor.floats[i] = old - step
      let down = try value()
      tensor.floats[i] = old
      let expected = Float((up - down) / Double(2 * step))
      let found = gradient.floats[i]
      #expect(
        abs(found - expected) <= tolerance * max(1, abs(expected)),
        "\(name)[\(i)]: \(found), finite difference \(expected), seed \(seed)")
    }
  }
  for (i, (input, leaf)) in zip(inputs, leaves).enumerated() {
    try compare(input, tape.gradient(of: leaf), "input \(i)")
  }
  for parameter in parameters {
    try compare(parameter.tensor, parameter.gradient, parameter.name)
  }
}

/// A weight with random values on one rank.
func weight(
  _ name: String, _ shape: [Int], _ draw: inout Draw, scale: Float = 0.5, on engine: Engine
) throws -> Parameter {
  let parameter = try Parameter(name, .whole(shape), .float32, on: engine)
  parameter.tensor = try Tensor(
    draw.floats(shape.reduce(1, *), scale: scale), shape, on: engine)
  return parameter
}
