import Parallel
import Support

/// Which divisor turns sums of token losses into the step's gradient.
public enum LossNormalization: Sendable, Equatable {
  /// Every trained token of the global batch weighs the same (`calculate_per_token_loss`).
  case perToken
  /// Every micro-batch weighs the same, whatever its number of trained tokens.
  case perMicroBatch

  /// What the sum of token losses of one micro-batch is multiplied by.
  ///
  ///     perToken: 1/N      perMicroBatch: 1/(M·D·n)
  /// - Parameters:
  ///   - tokens: n, trained tokens of this rank's part of the micro-batch.
  ///   - allTokens: N, those of the whole global batch (`globalTokens`).
  ///   - microBatches: M, per data-parallel rank.
  ///   - dataParallel: D, size of the data-parallel (and context-parallel) group.
  /// - Returns: 0 when there is nothing to train on, so that no step divides by zero.
  public func seed(tokens: Int, allTokens: Int, microBatches: Int, dataParallel: Int) -> Double {
    switch self {
    case .perToken:
      return allTokens > 0 ? 1 / Double(allTokens) : 0
    case .perMicroBatch:
      return tokens > 0 ? 1 / (Double(microBatches) * Double(dataParallel) * Double(tokens)) : 0
    }
  }

  /// N: trained tokens of all micro-batches of all ranks of `group`.
  /// - Communication: one integer over `group`.
  /// - Throws: `COMM-…`.
  public static func globalTokens(_ own: Int, over group: any Communicator) throws(Fault) -> Int {
    var count = Int64(own)
    var fault: Fault?
    withUnsafeMutablePointer(to: &count) {
      do throws(Fault) {
        try group.allReduceSum(UnsafeMutableBufferPointer(start: $0, count: 1))
      } catch {
        fault = error
      }
    }
    if let fault { throw fault }
    return Int(count)
  }
}
