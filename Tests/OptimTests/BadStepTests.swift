import Parallel
import Support
import Tensor
import Testing

@testable import Optim

@Suite struct BadStepTests {
  private func faults(_ rig: TrainingRig) throws -> [Fault?] {
    let outcomes = try ThreadWorld.outcomes(ranks: rig.ranks) { world in
      let engine = try Engine()
      let optimizer = try rig.makeOptimizer(world, engine)
      try rig.accumulate(optimizer, world, step: 1)
      _ = try optimizer.step(rig.input(1))
    }
    return outcomes.map {
      if case .failure(let error) = $0 { return error as? Fault }
      return nil
    }
  }

  @Test(
    "A NaN gradient stops every rank with the name of the rank and the parameter",
    arguments: [0, 1, 2, 3])
  func stop(culprit: Int) throws {
    var rig = TrainingRig()
    rig.ranks = 4
    rig.poison = { _, j in j == 4 + culprit ? .nan : nil }
    for fault in try faults(rig) {
      #expect(fault?.code == .nonFiniteGradient)
      #expect(fault?.code.exit == .nonFinite)
      #expect(fault?.place == .rank(culprit))
      #expect(fault?.message.contains("layer.1.weight") == true)
      #expect(fault?.message.contains("iteration 1") == true)
    }
  }

  @Test("Without shards the parameter is named, on every rank alike")
  func stopUnsharded() throws {
    var rig = TrainingRig()
    rig.ranks = 2
    rig.options.isDistributed = false
    rig.poison = { _, j in j == 3 ? .infinity : nil }
    for fault in try faults(rig) {
      #expect(fault?.code == .nonFiniteGradient)
      #expect(fault?.message.contains("layer.1.weight") == true)
    }
  }

  @Test("An overflow step changes neither weights nor states nor t, and is the only loss")
  func skip() throws {
    var rig = TrainingRig()
    rig.ranks = 2
    rig.policy = .skip
    rig.steps = 1
    let first = try rig.run()
    rig.steps = 2
    rig.poison = { step, j in step == 2 && j == 5 ? .infinity : nil }
    let skipped = try rig.run()
    #expect(skipped[0].results[1].isSkipped && skipped[1].results[1].isSkipped)
    #expect(skipped[0].results[1].step == 1)
    #expect(!skipped[0].results[1].gradientNorm.isFinite)
    #expect(skipped.map { $0.weights.map(bits) } == first.map { $0.weights.map(bits) })
    #expect(skipped.wholeStates.mapValues(bits) == first.wholeStates.mapValues(bits))
    rig.steps = 3
    let third = try rig.run()
    #expect(!third[0].results[2].isSkipped && third[0].results[2].step == 2)
  }

  @Test("With the check switched off the step is applied as the reference applies it")
  func apply() throws {
    var rig = TrainingRig()
    rig.policy = .apply
    rig.steps = 1
    rig.poison = { _, _ in .nan }
    let outcome = try rig.run()[0]
    #expect(outcome.results[0].clipFactor == 1 && !outcome.results[0].isSkipped)
    #expect(outcome.weights[1].allSatisfy { $0.isNaN })
    #expect(outcome.weights[0].allSatisfy { $0.isFinite })
  }

  @Test("A non-finite loss stops with rank, iteration and value, unless checks are off")
  func loss() throws {
    let world = SelfWorld()
    let fault = #expect(throws: Fault.self) {
      try StepPolicy.stop.judge(loss: .nan, iteration: 12, world: world)
    }
    #expect(fault?.code == .nonFiniteLoss && fault?.message.contains("12") == true)
    try StepPolicy.stop.judge(loss: 3, iteration: 12, world: world)
    try StepPolicy.skip.judge(loss: .infinity, iteration: 12, world: world)
  }

  @Test("Micro-batches out of order and an early step are faults, not wrong gradients")
  func order() throws {
    let engine = try Engine()
    let rig = TrainingRig()
    let optimizer = try rig.makeOptimizer(SelfWorld(), engine)
    #expect(throws: Fault.self) { try optimizer.reduceGradients() }
    optimizer.beginStep(microBatches: 2)
    #expect(throws: Fault.self) { try optimizer.beginMicroBatch(1) }
    try optimizer.beginMicroBatch(0)
    optimizer.endMicroBatch(0)
    #expect(throws: Fault.self) { _ = try optimizer.step(rig.input(1)) }
    try optimizer.beginMicroBatch(1)
    optimizer.endMicroBatch(1)
    #expect(throws: Never.self) { _ = try optimizer.step(rig.input(1)) }
    #expect(throws: Fault.self) { _ = try optimizer.step(rig.input(2)) }
  }
}
