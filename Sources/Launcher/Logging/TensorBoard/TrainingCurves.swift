/// The tags of the reference for the records of a run.
public struct TrainingCurves: Sendable {
  public var showsLearningRate = true
  public var showsValidationPerplexity = true
  public var showsMemory = true
  public var showsTimers = true

  public init() {}

  /// The choices of the flags.
  public init(_ flags: LoggingFlags) {
    showsLearningRate = !flags.noLogLearningRateToTensorboard
    showsValidationPerplexity = flags.logValidationPPLToTensorboard
    showsMemory = flags.logMemoryToTensorboard
    showsTimers = flags.logTimersToTensorboard
  }

  /// Points over iterations, and points over consumed samples.
  public struct Points: Sendable {
    public var byIteration: [(tag: String, value: Double)] = []
    public var bySamples: [(tag: String, value: Double)] = []

    mutating func both(_ tag: String, _ value: Double) {
      byIteration.append((tag, value))
      bySamples.append((tag + " vs samples", value))
    }
  }

  /// - Parameters:
  ///   - timers: seconds of the parts of a step by name (`forward-backward`, `optimizer`).
  ///   - memoryBytes: resident set of the rank now.
  public func points(
    _ record: StepRecord, timers: [(name: String, seconds: Double)] = [], memoryBytes: Int? = nil
  ) -> Points {
    var points = Points()
    if showsLearningRate { points.both("learning-rate", record.learningRate) }
    points.both("batch-size", Double(record.globalBatchSize))
    for (place, loss) in record.losses.enumerated() {
      if place == 0 {
        points.both(loss.name, loss.value)
      } else {
        points.byIteration.append((loss.name, loss.value))
      }
    }
    points.both("loss-scale", record.lossScale)
    if let norm = record.gradNorm { points.both("grad-norm", norm) }
    if let zeros = record.zeroGradients { points.both("num-zeros", Double(zeros)) }
    if let norm = record.paramsNorm { points.both("params-norm", norm) }
    points.byIteration.append(("iteration-time", record.secondsPerIteration))
    if let value = record.throughput { points.byIteration.append(("throughput", value)) }
    if showsMemory {
      let peak = record.memoryGiB * 1_073_741_824
      let current = memoryBytes.map(Double.init) ?? peak
      points.byIteration += [
        ("mem-reserved-bytes", current), ("mem-allocated-bytes", current),
        ("mem-max-allocated-bytes", peak),
      ]
    }
    if showsTimers { points.byIteration += timers.map { ("\($0.name)-time", $0.seconds) } }
    return points
  }

  public func points(_ record: EvalRecord) -> Points {
    var points = Points()
    for (place, loss) in record.losses.enumerated() {
      points.both("\(loss.name) validation", loss.value)
      if place == 0, showsValidationPerplexity {
        points.both("\(loss.name) validation ppl", EvalRecord.perplexity(loss.value))
      }
    }
    return points
  }
}
