import Parallel
import Support

/// Token losses and counts of the micro-batches of a step, for the number in the log.
///
/// The sums of all ranks are added in the order of the global batch, so the reported loss has the
/// same bits for every data-parallel size.
public struct LossTally: Sendable {
  /// Sums over micro-batches.
  public struct Total: Sendable, Equatable {
    /// Σ of token losses.
    public var sum = 0.0
    /// Trained tokens.
    public var tokens = 0
    /// Trained tokens that were predicted right.
    public var right = 0
    /// Σ of the means of micro-batches with trained tokens, and their number.
    public var means = 0.0
    public var batches = 0
    public init() {}

    public static func += (a: inout Total, b: Total) {
      a.sum += b.sum
      a.tokens += b.tokens
      a.right += b.right
      a.means += b.means
      a.batches += b.batches
    }

    /// Mean loss per trained token; 0 when nothing was trained (the caller warns).
    public var mean: Double { tokens > 0 ? sum / Double(tokens) : 0 }
    /// Plain mean of the micro-batches' means: a short one counts as much as a full one.
    public var meanOfBatches: Double { batches > 0 ? means / Double(batches) : 0 }
    /// Share of trained tokens predicted right; nil when nothing was trained.
    public var accuracy: Double? { tokens > 0 ? Double(right) / Double(tokens) : nil }
  }

  /// Three numbers per micro-batch, as they are exchanged.
  private var entries: [Double] = []
  private static let width = 3

  public init() {}

  /// - Parameters:
  ///   - sum: Σ of token losses of the next micro-batch.
  ///   - tokens: its trained tokens.
  ///   - right: those predicted right.
  public mutating func add(sum: Double, tokens: Int, right: Int = 0) {
    entries += [sum, Double(tokens), Double(right)]
  }

  /// The sums over all micro-batches of all ranks of `group`.
  /// - Communication: three doubles per micro-batch over `group`; every rank has as many.
  /// - Throws: `COMM-…`.
  public func total(over group: any Communicator) throws(Fault) -> Total {
    var all = [Double](repeating: 0, count: entries.count * group.size)
    if group.size == 1 {
      all = entries
    } else if !entries.isEmpty {
      var fault: Fault?
      entries.withUnsafeBytes { send in
        all.withUnsafeMutableBytes { receive in
          do throws(Fault) { try group.allGather(send, into: receive) } catch { fault = error }
        }
      }
      if let fault { throw fault }
    }
    var total = Total()
    // Micro-batch m of rank r has global index m·size + r.
    for m in 0..<entries.count / LossTally.width {
      for r in 0..<group.size {
        let place = r * entries.count + LossTally.width * m
        total.sum += all[place]
        total.tokens += Int(all[place + 1])
        total.right += Int(all[place + 2])
        guard all[place + 1] > 0 else { continue }
        total.means += all[place] / all[place + 1]
        total.batches += 1
      }
    }
    return total
  }
}
