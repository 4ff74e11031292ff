import Parallel
import Support
import Tensor

extension DistributedOptimizer {
  /// Judges, clips and applies the gradients of a step.
  ///
  /// Every rank comes to the same verdict: it rests on sums that are exact.
  /// - Returns: the same on every rank.
  /// - Communication: gradients and weights over their groups, a few words over the world.
  /// - Throws: `OPTIM-201` on every rank for a non-finite gradient under `stop`; `OPTIM-302` on
  ///   every rank when a far tier fails on one; `COMM-…`, `MEM-001`.
  public func step(_ input: StepInput) throws(Fault) -> StepResult {
    try reduceGradients()
    let judge = GradientNorm(buffers: buffers, world: groups.world)
    // A scale of 0 or an overflow of the product must not hide a non-finite gradient.
    let reduced = try judge.norm()
    let norm = reduced * input.gradientScale
    if !reduced.isFinite {
      switch input.policy {
      case .stop:
        throw try NonFiniteReport(buffers: buffers, world: groups.world)
          .fault(iteration: input.iteration)
      case .skip:
        endStep()
        return StepResult(gradientNorm: norm, clipFactor: 1, isSkipped: true, step: stepCount)
      case .apply: break
      }
    }
    if !hasMasters { try refreshMasters() }
    let factor = Clip.factor(norm: norm, limit: input.clip)
    stepCount += 1
    try agree { () throws(Fault) in
      for part in self.parts { try self.update(part, input, factor * input.gradientScale) }
    }
    try roundWeights()
    try exchange.gather()
    endStep()
    return StepResult(
      gradientNorm: norm, clipFactor: factor, isSkipped: false, step: stepCount)
  }

  /// Rounds this rank's shard of the weights to fp16 values, if that is how they are trained.
  /// - Throws: `MEM-001`.
  func roundWeights() throws(Fault) {
    guard options.roundsWeightsToHalf else { return }
    for part in parts {
      for segment in part.store.segments where buffers[segment.buffer].weightType == .float32 {
        try weight(segment, 0..<segment.count).roundToHalf()
      }
    }
  }

  /// Runs `body`; a fault of one rank's far tier becomes a fault of all.
  func agree(_ body: () throws(Fault) -> Void) throws(Fault) {
    var fault: Fault?
    do throws(Fault) { try body() } catch { fault = error }
    let world = groups.world
    if options.offload != nil, world.size > 1 {
      var failed: [Int64] = [fault == nil ? 0 : Int64(world.size - world.rank)]
      try failed.withBuffer { (buffer) throws(Fault) in try world.allReduceMax(buffer) }
      if failed[0] > 0, fault == nil {
        fault = Fault(
          .offloadFailed, "the far tier of another rank failed",
          at: .rank(world.size - Int(failed[0])))
      }
    }
    if let fault { throw fault }
  }

  private func update(_ part: StatePart, _ input: StepInput, _ scale: Double) throws(Fault) {
    let store = part.store
    let isScaled = store.format.isScaled
    let blocks = store.blocks(
      of: store.segments.indices, isScaled ? [.measure, .apply] : [.apply], fitsScratch: isScaled)
    var magnitudes = Array(repeating: StateMagnitudes(), count: store.segments.count)
    try store.visit(blocks) { (visit, states) in
      let block = self.updateBlock(store, visit, states)
      let factors = self.factors(store.segments[visit.segment], input, scale)
      let old = store.scales[visit.segment]
      switch visit.phase {
      case .measure:
        magnitudes[visit.segment].include(part.update.measure(block, factors, scales: old))
      case .apply where !store.format.isScaled:
        part.update.apply(block, factors)
      case .apply:
        let new = magnitudes[visit.segment].scales(store.format)
        part.update.applyScaled(block, factors, scales: old, newScales: new)
        let isLast = visit.range.upperBound == store.segments[visit.segment].count
        if isLast { store.scales[visit.segment] = new }
      case .read: break
      }
    }
  }

  private func factors(
    _ segment: StateSegment, _ input: StepInput, _ scale: Double
  ) -> StepFactors {
    let item = parameters[segment.index]
    return StepFactors(
      rule: options.rule, gradientScale: Float(scale),
      learningRate: Float(input.learningRate * item.learningRateScale),
      weightDecay: item.decays ? Float(input.weightDecay) : 0, step: stepCount)
  }

  private func updateBlock(
    _ store: StateStore, _ visit: StateBlock, _ states: StatePointers
  ) -> UpdateBlock {
    let segment = store.segments[visit.segment]
    let buffer = buffers[segment.buffer]
    let start = segment.gradientStart + visit.range.lowerBound
    return UpdateBlock(
      count: visit.range.count, weight: weight(segment, visit.range).address,
      weightType: buffer.weightType,
      gradient: UnsafeRawPointer(buffer.flat.elements(start..<start + visit.range.count).address),
      gradientType: buffer.gradientType, states: states)
  }

  /// Elements `range` of a segment's weights.
  func weight(_ segment: StateSegment, _ range: Range<Int>) -> Tensor {
    let tensor = parameters[segment.index].parameter.tensor
    let start = segment.range.lowerBound + range.lowerBound
    return tensor.reshaped([tensor.count]).elements(start..<start + range.count)
  }
}
