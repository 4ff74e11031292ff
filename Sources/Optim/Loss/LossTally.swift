import Parallel
import Support

/// Token losses and counts of the micro-batches of a step, for the number in the log.
///
/// The sums of all ranks are added in the order of the global batch, so the reported loss has the
/// same bits for every data-parallel size.
public struct LossTally: Sendable {
  private var entries: [Double] = []

  public init() {}

  /// - Parameters:
  ///   - sum: Σ of token losses of the next micro-batch.
  ///   - tokens: its trained tokens.
  public mutating func add(sum: Double, tokens: Int) {
    entries.append(sum)
    entries.append(Double(tokens))
  }

  /// Σ loss and Σ tokens over all micro-batches of all ranks of `group`.
  /// - Communication: two doubles per micro-batch over `group`; every rank has as many.
  /// - Throws: `COMM-…`.
  public func total(over group: any Communicator) throws(Fault) -> (sum: Double, tokens: Int) {
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
    var sum = 0.0
    var tokens = 0
    // Micro-batch m of rank r has global index m·size + r.
    for m in 0..<entries.count / 2 {
      for r in 0..<group.size {
        let place = r * entries.count + 2 * m
        sum += all[place]
        tokens += Int(all[place + 1])
      }
    }
    return (sum, tokens)
  }

  /// Mean loss per trained token; 0 when nothing was trained (the caller warns).
  public static func mean(_ total: (sum: Double, tokens: Int)) -> Double {
    total.tokens > 0 ? total.sum / Double(total.tokens) : 0
  }
}
