import Parallel
import Support
import Tensor
import Testing

@testable import Optim

/// Exchanges beside the backward and the next forward pass.
@Suite("Overlapped exchanges", .timeLimit(.minutes(2)))
struct OverlapTests {
  private func options(_ change: (inout OptimizerOptions) -> Void = { _ in }) -> OptimizerOptions {
    var options = OptimizerOptions()
    options.overlapsReduction = true
    options.overlapsGather = true
    options.bucketSize = 100
    change(&options)
    return options
  }

  /// The same run with and without overlap: equal in every bit.
  private func compare(_ rig: TrainingRig, _ comment: Comment) throws {
    var plain = rig
    plain.options.overlapsReduction = false
    plain.options.overlapsGather = false
    let expected = try plain.run()
    let outcomes = try rig.run()
    #expect(outcomes.map(\.results) == expected.map(\.results), comment)
    #expect(
      outcomes.map { $0.weights.map(bits) } == expected.map { $0.weights.map(bits) }, comment)
    #expect(outcomes.wholeStates.mapValues(bits) == expected.wholeStates.mapValues(bits), comment)
    for outcome in outcomes {
      #expect(outcome.weights.map(bits) == outcomes[0].weights.map(bits), comment)
    }
  }

  @Test("Reduction and gathering beside the passes change no bit", arguments: [1, 2, 3, 4])
  func sameBits(ranks: Int) throws {
    var rig = TrainingRig()
    rig.ranks = ranks
    rig.microBatches = 12
    rig.tellsParts = true
    rig.options = options()
    try compare(rig, "sharded")
    rig.dtype = .bfloat16
    try compare(rig, "bf16 weights")
    rig.options = options {
      $0.isDistributed = false
      $0.overlapsGather = false
    }
    try compare(rig, "not sharded")
  }

  @Test("Canonical chunks of several micro-batches are joined bucket by bucket", arguments: [2, 4])
  func chunks(ranks: Int) throws {
    var rig = TrainingRig()
    rig.ranks = ranks
    rig.tellsParts = true
    rig.options = options { $0.canonicalChunks = 8 }
    for microBatches in [8, 12, 24] {
      rig.microBatches = microBatches
      try compare(rig, "\(microBatches) micro-batches")
      rig.ranks = 1
      let alone = try rig.run()[0].weights.map(bits)
      rig.ranks = ranks
      #expect(try rig.run()[0].weights.map(bits) == alone)
    }
  }

  @Test("bf16 gradients and bf16 exchange stay as they are beside the passes", arguments: [2, 3])
  func narrow(ranks: Int) throws {
    var rig = TrainingRig()
    rig.ranks = ranks
    rig.microBatches = 6
    rig.tellsParts = true
    rig.options = options { $0.exchangeType = .bfloat16 }
    try compare(rig, "bf16 exchange")
    rig.options = options {
      $0.isPrecisionAware = true
      $0.mainGradientType = .bfloat16
    }
    rig.dtype = .bfloat16
    try compare(rig, "bf16 main gradients")
  }

  @Test("Weights that are rounded to fp16 and a step that is skipped change nothing")
  func half() throws {
    var rig = TrainingRig()
    rig.ranks = 2
    rig.tellsParts = true
    rig.policy = .skip
    rig.poison = { step, microBatch in step == 2 && microBatch == 3 ? .infinity : nil }
    rig.options = options { $0.roundsWeightsToHalf = true }
    try compare(rig, "fp16")
    #expect(try rig.run()[1].results.map(\.isSkipped) == [false, true, false])
  }

  /// The rig's parameters on a world, before the last backward pass of a step of one micro-batch.
  private func begin(
    _ rig: TrainingRig, _ world: any Communicator
  ) throws -> DistributedOptimizer {
    let optimizer = try rig.makeOptimizer(world, try Engine())
    optimizer.beginStep(microBatches: 1)
    try optimizer.beginMicroBatch(0)
    return optimizer
  }

  private func write(_ value: Float, to parameter: Parameter) throws {
    let slot = try #require(try parameter.gradientSlot())
    for i in 0..<slot.tensor.count { slot.tensor.floats[i] = value }
  }

  @Test("A bucket is summed over ranks while the backward pass has not come to the others")
  func startsEarly() throws {
    var rig = TrainingRig()
    rig.options = options()
    let rig2 = rig
    let sums = try ThreadWorld.run(ranks: 2) { world -> [Float] in
      let optimizer = try begin(rig2, world)
      // Parameters 5, 3 and 2 fill the first dense bucket.
      for p in [5, 4, 3, 2] {
        try write(Float(world.rank + 1), to: optimizer.parameters[p].parameter)
      }
      try #require(optimizer.backwardWatch).gradientsAreComplete(from: 2)
      let started = optimizer.exchange.started
      try #require(started.count >= 1 && started.count < optimizer.exchange.unitCount)
      for call in started { try call?.wait() }
      let buffer = optimizer.buffers[0]
      let sum = buffer.flat.floats[buffer.layout.shard(of: 0, rank: world.rank).lowerBound]
      for p in [1, 0] { try write(1, to: optimizer.parameters[p].parameter) }
      optimizer.endMicroBatch(0)
      _ = try optimizer.step(rig2.input(1))
      return [sum]
    }
    #expect(sums == [[3], [3]])
  }

  @Test("Buckets start in one order on all ranks, whatever a rank's own rows leave out")
  func fixedOrder() throws {
    var rig = TrainingRig()
    rig.options = options()
    let rig2 = rig
    let outcomes = try ThreadWorld.run(ranks: 2) { world in
      let optimizer = try begin(rig2, world)
      for item in optimizer.parameters { try write(1, to: item.parameter) }
      // Rank 1 hears nothing on the way: no gradient flowed through its last parts.
      if world.rank == 0 {
        for part in [6, 5, 4, 3] { try optimizer.backwardWatch?.gradientsAreComplete(from: part) }
      }
      optimizer.endMicroBatch(0)
      _ = try optimizer.step(rig2.input(1))
      return optimizer.parameters.map { bits($0.parameter.tensor.values) }
    }
    #expect(outcomes[0] == outcomes[1])
  }

  @Test("A gradient that comes after its bucket was closed is a fault")
  func late() throws {
    var rig = TrainingRig()
    rig.experts = []
    rig.options = options()
    let rig2 = rig
    let codes = try ThreadWorld.run(ranks: 2) { world -> FaultCode? in
      let optimizer = try begin(rig2, world)
      for item in optimizer.parameters { try write(1, to: item.parameter) }
      try optimizer.backwardWatch?.gradientsAreComplete(from: 0)
      do {
        _ = try optimizer.parameters[5].parameter.gradientSlot()
      } catch let fault as Fault {
        return fault.code
      }
      return nil
    }
    #expect(codes == [.internalError, .internalError])
  }

  @Test("A rank that dies before the weights have arrived: reading ends, and the fault is told")
  func diesBeforeGather() throws {
    var rig = TrainingRig()
    rig.options = options()
    let rig2 = rig
    let outcomes = try ThreadWorld.outcomes(ranks: 2) { world in
      let optimizer = try begin(rig2, world)
      for item in optimizer.parameters { try write(1, to: item.parameter) }
      optimizer.endMicroBatch(0)
      guard world.rank == 0 else {
        try optimizer.reduceGradients()
        _ = try GradientNorm(buffers: optimizer.buffers, world: world).norm()
        throw Fault(.badJSON, "broken")
      }
      _ = try optimizer.step(rig2.input(1))
      for item in optimizer.parameters { _ = item.parameter.tensor }
      try optimizer.finishGather()
    }
    let codes = outcomes.map { outcome -> FaultCode? in
      guard case .failure(let error) = outcome else { return nil }
      return (error as? Fault)?.code
    }
    #expect(codes == [.rankLeft, .badJSON])
  }

  @Test(
    "The times of the exchanges are known after a step, of gathering after the next",
    arguments: [false, true])
  func times(isOverlapped: Bool) throws {
    var rig = TrainingRig()
    rig.options = options {
      $0.overlapsReduction = isOverlapped
      $0.overlapsGather = isOverlapped
    }
    let rig2 = rig
    let times = try ThreadWorld.run(ranks: 2) { world in
      let optimizer = try rig2.makeOptimizer(world, try Engine())
      for step in 1...2 {
        try rig2.accumulate(optimizer, world, step: step)
        _ = try optimizer.step(rig2.input(step))
      }
      return optimizer.exchangeTimes
    }
    for time in times {
      #expect(time.reduceWork > 0 && time.gatherWork > 0)
      #expect(time.reduceWait > 0 && time.gatherWait >= 0)
      #expect(isOverlapped || time.gatherWait == time.gatherWork)
    }
  }

  @Test("Overlapped gathering without a distributed optimizer is refused")
  func refused() throws {
    for change: @Sendable (inout OptimizerOptions) -> Void in [
      { $0.isDistributed = false }, { $0.overlapsReduction = false },
    ] {
      let fault = #expect(throws: Fault.self) { try options(change).validate() }
      #expect(fault?.code == .optimizerRefused)
    }
  }
}
