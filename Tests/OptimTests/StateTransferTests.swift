import Parallel
import Support
import Tensor
import Testing

@testable import Optim

@Suite struct StateTransferTests {
  /// Whole tensors by kind and name, as a checkpoint would hold them.
  private typealias Saved = [String: [Float]]

  private func load(_ optimizer: DistributedOptimizer, _ saved: Saved, step: Int) throws {
    for kind in optimizer.stateKinds {
      for item in optimizer.parameters {
        let name = item.parameter.name
        let whole = try #require(saved["\(kind.rawValue) \(name)"])
        try optimizer.importState(kind, of: name) { (range, values) in
          for (i, place) in range.enumerated() { values[i] = whole[place] }
        }
      }
    }
    try optimizer.finishImport(step: step, hasMasters: true)
  }

  /// Trains steps `first...last` after loading `saved`, on `rig.ranks` ranks.
  private func resume(
    _ rig: TrainingRig, _ saved: Saved, from first: Int, to last: Int
  ) throws -> [TrainingRig.Outcome] {
    try ThreadWorld.run(ranks: rig.ranks) { world in
      let engine = try Engine()
      let optimizer = try rig.makeOptimizer(world, engine)
      try load(optimizer, saved, step: first - 1)
      var results: [StepResult] = []
      for step in first...last {
        try rig.accumulate(optimizer, world, step: step)
        results.append(try optimizer.step(rig.input(step)))
      }
      return try rig.outcome(optimizer, results)
    }
  }

  @Test(
    "Save, load into any data-parallel size and go on: the bits of the uninterrupted run",
    arguments: [DType.float32, .bfloat16], [false, true])
  func resumeAnywhere(dtype: DType, isPrecisionAware: Bool) throws {
    var rig = TrainingRig()
    rig.dtype = dtype
    rig.options.isPrecisionAware = isPrecisionAware
    rig.options.canonicalChunks = 4
    rig.steps = 4
    let whole = try rig.run()
    rig.steps = 2
    rig.ranks = 2
    let saved = try rig.run().wholeStates
    for ranks in [1, 2, 4] {
      rig.ranks = ranks
      let resumed = try resume(rig, saved, from: 3, to: 4)
      #expect(resumed[0].results == Array(whole[0].results[2...]))
      #expect(resumed.allSatisfy { $0.weights.map(bits) == whole[0].weights.map(bits) })
      #expect(resumed.wholeStates.mapValues(bits) == whole.wholeStates.mapValues(bits))
    }
  }

  @Test("Scaled states go out and in without change on the same layout", arguments: [1, 2])
  func scaledStates(ranks: Int) throws {
    var rig = TrainingRig()
    rig.dtype = .bfloat16
    rig.ranks = ranks
    rig.options.isPrecisionAware = true
    rig.options.firstMomentType = .float16
    rig.options.secondMomentType = .float8
    rig.steps = 4
    let whole = try rig.run()
    rig.steps = 2
    let saved = try rig.run().wholeStates
    let resumed = try resume(rig, saved, from: 3, to: 4)
    #expect(resumed.map { $0.weights.map(bits) } == whole.map { $0.weights.map(bits) })
  }

  @Test("Owned runs of all ranks cover every parameter once")
  func ownedRuns() throws {
    var rig = TrainingRig()
    rig.ranks = 3
    rig.microBatches = 3
    let owned = try ThreadWorld.run(ranks: 3) { [rig] world in
      try rig.makeOptimizer(world, try Engine()).ownedStates
    }
    for (index, shape) in rig.shapes.enumerated() {
      let runs = owned.flatMap { $0 }.filter { $0.name == "layer.\(index).weight" }
      let places = runs.flatMap { Array($0.range) }.sorted()
      #expect(places == Array(0..<shape.reduce(1, *)))
      #expect(runs.allSatisfy { $0.shape == shape && $0.isExpert == (index == 4) })
    }
  }

  @Test("Unknown names and kinds are refused, and a reader's fault comes through")
  func refusals() throws {
    let engine = try Engine()
    let rig = TrainingRig()
    let optimizer = try rig.makeOptimizer(SelfWorld(), engine)
    let unknown = #expect(throws: Fault.self) {
      try optimizer.importState(.master, of: "layer.9.weight") { (_, _) in }
    }
    #expect(unknown?.code == .stateMismatch)
    let kind = #expect(throws: Fault.self) {
      try optimizer.exportState(.momentum, of: "layer.0.weight") { (_, _) in }
    }
    #expect(kind?.code == .stateMismatch)
    let passed = #expect(throws: Fault.self) {
      try optimizer.importState(.firstMoment, of: "layer.0.weight") { (_, _) throws(Fault) in
        throw Fault(.missingFile, "gone")
      }
    }
    #expect(passed?.code == .missingFile)
  }

  @Test("Without masters in the checkpoint they are taken from the weights")
  func noMasters() throws {
    var rig = TrainingRig()
    rig.dtype = .bfloat16
    let engine = try Engine()
    let optimizer = try rig.makeOptimizer(SelfWorld(), engine)
    try optimizer.finishImport(step: 7, hasMasters: false)
    #expect(optimizer.stepCount == 7)
    let outcome = try rig.outcome(optimizer, [])
    for (i, weights) in outcome.weights.enumerated() {
      #expect(outcome.states["param layer.\(i).weight 0"].map(bits) == bits(weights))
    }
  }
}
