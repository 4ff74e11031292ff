import Parallel
import Support
import Tensor

@testable import Optim

/// Repeatable numbers (SplitMix64).
struct TestRandom {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
  mutating func int(in range: ClosedRange<Int>) -> Int {
    range.lowerBound + Int(next() % UInt64(range.count))
  }
  /// −1 to 1.
  mutating func unit() -> Float { Float(Int64(next() >> 40)) / Float(1 << 23) - 1 }
}

/// A few parameters trained on made-up gradients, on any number of data-parallel ranks.
struct TrainingRig: Sendable {
  var shapes: [[Int]] = [[5, 7], [33], [40, 10], [3], [17, 9], [64]]
  /// Indices of parameters that belong to experts.
  var experts: Set<Int> = [4]
  var dtype = DType.float32
  var ranks = 1
  var threads = 1
  /// Micro-batches of the whole global batch.
  var microBatches = 8
  var steps = 3
  var options = OptimizerOptions()
  var learningRate = 1e-2
  var clip = 1.0
  var policy = StepPolicy.stop
  var gradientScale = 1.0
  /// The backward pass tells where it is: parameter p belongs to part p + 1 of the model.
  var tellsParts = false
  /// Applied to every element of a gradient.
  var rounding: @Sendable (Float) -> Float = { $0 }
  /// Called before the backward pass of a micro-batch: (step, global index) → added value.
  var poison: @Sendable (_ step: Int, _ microBatch: Int) -> Float? = { _, _ in nil }

  /// What a rank ends with.
  struct Outcome: Sendable {
    var results: [StepResult] = []
    /// Weights after the last step, by parameter.
    var weights: [[Float]] = []
    /// Owned states, by kind, parameter and first element.
    var states: [String: [Float]] = [:]
    var bytes = OptimizerBytes()
  }

  /// Gradient of element `i` in a micro-batch; parameter 4 (experts) gets none in some.
  func gradient(_ step: Int, _ microBatch: Int, _ parameter: Int) -> [Float]? {
    if experts.contains(parameter), (step + microBatch) % 3 == 0 { return nil }
    var random = TestRandom(seed: UInt64(step * 10_000 + microBatch * 100 + parameter))
    let scale = [1, 0.03, 20, 1e-4][random.int(in: 0...3)]
    return (0..<shapes[parameter].reduce(1, *)).map { _ in rounding(random.unit() * Float(scale)) }
  }

  func makeParameters(_ engine: Engine) throws -> [Parameter] {
    try shapes.enumerated().map { index, shape in
      let parameter = try Parameter(
        "layer.\(index).weight", .whole(shape), dtype,
        role: .init(isExpert: experts.contains(index)), on: engine)
      var random = TestRandom(seed: UInt64(index + 1))
      let values = (0..<parameter.count).map { _ in random.unit() }
      parameter.tensor = try Tensor(values, shape, dtype, on: engine)
      return parameter
    }
  }

  func makeOptimizer(
    _ world: any Communicator, _ engine: Engine
  ) throws -> DistributedOptimizer {
    let groups = OptimizerGroups(dataParallel: world, expertDataParallel: world, world: world)
    let parameters = try makeParameters(engine).enumerated().map { index, parameter in
      var item = OptimizedParameter(parameter, learningRateScale: index == 2 ? 0.5 : 1)
      item.forwardPart = index + 1
      return item
    }
    return try DistributedOptimizer(
      parameters, groups: groups, options: options, engine: engine)
  }

  /// Backward passes of one step.
  func accumulate(
    _ optimizer: DistributedOptimizer, _ world: any Communicator, step: Int
  ) throws {
    let own = microBatches / world.size
    optimizer.beginStep(microBatches: own)
    for m in 0..<own {
      let j = m * world.size + world.rank
      try optimizer.beginMicroBatch(m)
      for (p, item) in optimizer.parameters.enumerated().reversed() {
        if let values = gradient(step, j, p), let slot = try item.parameter.gradientSlot() {
          let bad = p == 1 ? poison(step, j) : nil
          add(values.map { $0 + (bad ?? 0) }, to: slot.tensor, adds: slot.adds)
        }
        if tellsParts { try optimizer.backwardWatch?.gradientsAreComplete(from: p + 1) }
      }
      optimizer.endMicroBatch(m)
    }
  }

  private func add(_ values: [Float], to slot: Tensor, adds: Bool) {
    if slot.dtype == .float32 {
      let target = slot.floats
      for (i, value) in values.enumerated() { target[i] = adds ? target[i] + value : value }
    } else {
      let target = slot.pointer(as: BF16.self)
      for (i, value) in values.enumerated() {
        target[i] = BF16(adds ? target[i].float + value : value)
      }
    }
  }

  func input(_ step: Int) -> StepInput {
    StepInput(
      iteration: step, learningRate: learningRate / Double(step), weightDecay: 0.1, clip: clip,
      gradientScale: gradientScale, policy: policy)
  }

  func outcome(_ optimizer: DistributedOptimizer, _ results: [StepResult]) throws -> Outcome {
    var outcome = Outcome(results: results, bytes: optimizer.bytes)
    outcome.weights = optimizer.parameters.map { $0.parameter.tensor.values }
    for kind in optimizer.stateKinds {
      for item in optimizer.parameters {
        let name = item.parameter.name
        try optimizer.exportState(kind, of: name) { (range, values) in
          outcome.states["\(kind.rawValue) \(name) \(range.lowerBound)"] = Array(values)
        }
      }
    }
    return outcome
  }

  /// Trains and returns what every rank ended with.
  func run() throws -> [Outcome] {
    try ThreadWorld.run(ranks: ranks) { world in
      let engine = try Engine(threads: threads)
      let optimizer = try makeOptimizer(world, engine)
      var results: [StepResult] = []
      for step in 1...steps {
        try accumulate(optimizer, world, step: step)
        results.append(try optimizer.step(input(step)))
      }
      return try outcome(optimizer, results)
    }
  }
}

extension [TrainingRig.Outcome] {
  /// States of all ranks, whole tensors: kind and name → values.
  var wholeStates: [String: [Float]] {
    var pieces: [String: [(Int, [Float])]] = [:]
    for outcome in self {
      for (key, values) in outcome.states {
        let words = key.split(separator: " ")
        pieces["\(words[0]) \(words[1])", default: []].append((Int(words[2]) ?? 0, values))
      }
    }
    return pieces.mapValues { list in
      list.sorted { $0.0 < $1.0 }.flatMap(\.1)
    }
  }
}
