import Support
import Tensor

extension QwenText {
  /// Random weights as the published models were begun: norms 1, biases 0, all else N(0, σ²) with
  /// `initializer_range`. An element depends on its place in the whole tensor only, so every
  /// layout begins alike.
  public func initialize(seed: Int) throws(Fault) {
    for parameter in parameters where !parameter.role.isAdapter {
      try parameter.initialize(seed: seed, deviation: config.initializerRange)
    }
  }
}

extension QwenVision {
  /// As that of the text model, with the deviation of `vision_config`.
  public func initialize(seed: Int) throws(Fault) {
    for parameter in parameters where !parameter.role.isAdapter {
      try parameter.initialize(seed: seed, deviation: config.initializerRange)
    }
  }
}

extension Parameter {
  fileprivate func initialize(seed: Int, deviation: Double) throws(Fault) {
    let constant: Double? =
      slices.globalShape.count > 1 ? nil : name.hasSuffix(".bias") ? 0 : 1
    try fill(seed: seed) { random, place in constant ?? random.normal(place) * deviation }
  }

  /// Sets every element to a value of its place in the whole tensor.
  func fill(seed: Int, _ value: (CounterRandom, Int) -> Double) throws(Fault) {
    guard !tensor.engine.isPlanning else { return }
    let random = CounterRandom(seed: UInt64(bitPattern: Int64(seed)), purpose: name)
    let width = slices.globalShape.dropFirst().reduce(1, *)
    let localWidth = shape.dropFirst().reduce(1, *)
    let wide = try Tensor(shape, .float32, on: tensor.engine)
    let values = wide.floats
    for run in slices.runs {
      let rows = slices.dim == 0 ? run.count : shape[0]
      let columns = slices.dim == 0 ? localWidth : run.count
      for r in 0..<rows {
        let (localRow, row) = slices.dim == 0 ? (run.local + r, run.global + r) : (r, r)
        let (localStart, start) = slices.dim == 0 ? (0, 0) : (run.local, run.global)
        for c in 0..<columns {
          values[localRow * localWidth + localStart + c] =
            Float(value(random, row * width + start + c))
        }
      }
    }
    try tensor.assign(wide, name: name)
  }
}
