import Parallel
import Support
import Tensor
import Testing

@testable import Optim

@Suite struct UpdateRuleTests {
  /// One parameter of 4 × 5 elements.
  private func makeOptimizer(
    _ initial: [Float], rule: UpdateRule, isDistributed: Bool
  ) throws -> DistributedOptimizer {
    let engine = try Engine()
    let parameter = try Parameter("w", .whole([4, 5]), .float32, on: engine)
    parameter.tensor = try Tensor(initial, [4, 5], on: engine)
    var options = OptimizerOptions()
    options.rule = rule
    options.isDistributed = isDistributed
    let world = SelfWorld()
    return try DistributedOptimizer(
      [OptimizedParameter(parameter)],
      groups: OptimizerGroups(dataParallel: world, expertDataParallel: world, world: world),
      options: options, engine: engine)
  }

  private func rule(_ row: JSONValue) throws -> UpdateRule {
    if row["optimizer"]?.string == "sgd" {
      return .sgd(momentum: try #require(row["momentum"]?.double))
    }
    return .adamW(
      beta1: try #require(row["beta1"]?.double), beta2: try #require(row["beta2"]?.double),
      epsilon: try #require(row["eps"]?.double))
  }

  @Test("AdamW and SGD follow the stored traces of weights and states", arguments: [true, false])
  func storedTraces(isDistributed: Bool) throws {
    let cases = try #require(Reference.json("adamw")["cases"]?.array)
    let stored = try Reference.tensors("adamw")
    #expect(cases.count == 6)
    for (i, row) in cases.enumerated() {
      let optimizer = try makeOptimizer(
        stored.floats("\(i).initial"), rule: rule(row), isDistributed: isDistributed)
      let parameter = optimizer.parameters[0].parameter
      for (j, rate) in try #require(row["lr"]?.array).enumerated() {
        optimizer.beginStep(microBatches: 1)
        try optimizer.beginMicroBatch(0)
        let slot = try #require(try parameter.gradientSlot())
        for (k, g) in try stored.floats("\(i).\(j + 1).grad").enumerated() {
          slot.tensor.floats[k] = g
        }
        optimizer.endMicroBatch(0)
        let result = try optimizer.step(
          StepInput(
            iteration: j + 1, learningRate: try #require(rate.double),
            weightDecay: try #require(row["weight_decay"]?.double)))
        #expect(result.step == j + 1)
        let weights = try stored.floats("\(i).\(j + 1).param")
        #expect(largestError(parameter.tensor.values, weights, floor: 1e-2) < 1e-6)
        for (kind, name) in [
          (StateKind.firstMoment, "exp_avg"), (.secondMoment, "exp_avg_sq"),
          (.momentum, "momentum"),
        ] where optimizer.stateKinds.contains(kind) {
          var values: [Float] = []
          try optimizer.exportState(kind, of: "w") { (_, part) in values += Array(part) }
          let wanted = try stored.floats("\(i).\(j + 1).\(name)")
          let largest = wanted.reduce(0) { max($0, abs($1)) }
          // The kernel takes β₂ as a float: 1 − 0.999 is then off by 1.3e-5.
          let limit: Float = kind == .secondMoment ? 2e-5 : 1e-6
          #expect(largestError(values, wanted, floor: largest / 10) < limit, "\(i) \(j) \(name)")
        }
      }
    }
  }

  @Test("The clip factor is the reference's, for NaN and infinite norms too")
  func clipFactor() throws {
    for row in try #require(Reference.json("optimizer")["clip"]?.array) {
      let norm = try #require(row["norm"]?.double)
      let factor = Float(Clip.factor(norm: norm, limit: try #require(row["clip"]?.double)))
      for (rank, grads) in try #require(row["grads"]?.array).enumerated() {
        let wanted = row["clipped"]?.array?[rank].array?.compactMap(\.double).map { Float($0) }
        let clipped = grads.array?.compactMap(\.double).map { Float($0) * factor } ?? []
        #expect(largestError(clipped, wanted ?? []) < 1e-6)
      }
    }
    #expect(Clip.factor(norm: .nan, limit: 1) == 1)
    #expect(Clip.factor(norm: .infinity, limit: 1) == 0)
  }
}
