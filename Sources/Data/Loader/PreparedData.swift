import Support

/// Samples that training or evaluation takes batches from.
public enum PreparedSamples: Sendable {
  /// Reached by number.
  case indexed(any SampleSource)
  /// Read while training runs.
  case stream(StreamedSamples)

  /// Number of samples, nil for a stream.
  public var count: Int? {
    if case .indexed(let source) = self { return source.count }
    return nil
  }

  /// Lengths of the samples, nil where they are not known before use.
  public var statistics: LengthStatistics? {
    guard case .indexed(let source) = self, let eager = source as? EagerSamples else { return nil }
    return LengthStatistics(eager.lengths)
  }
}

/// Everything a run takes its data from.
public struct PreparedData: Sendable {
  public let train: PreparedSamples
  /// nil when there is none, or too little for one step.
  public let validation: PreparedSamples?
  let log: ReportLog
  /// What became of the rows so far; grows while rows are read in training.
  public var report: DataReport { log.snapshot }

  /// Lines about the lengths of both sets, where they are known.
  public var statisticsLines: [String] {
    [train, validation].compactMap { $0?.statistics?.line }
  }
}
