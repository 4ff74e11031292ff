import Support
import Tensor

/// Where the time of training steps goes, by operation.
///
/// Forward passes are told apart by the moments at which the tape notes them: what runs between two
/// notes belongs to the second.
final class StepProfile: TapeObserver {
  private(set) var seconds: [String: Double] = [:]
  private var last = Clock.monotonicSeconds()

  /// Begins to count; what ran before belongs to nothing.
  func start() { last = Clock.monotonicSeconds() }

  /// What ran since the last note belongs to `name`.
  func note(_ name: String) {
    let now = Clock.monotonicSeconds()
    seconds[name, default: 0] += now - last
    last = now
  }

  func recorded(_ operation: StaticString) { note("\(operation).forward") }
  func differentiated(_ operation: StaticString) { note("\(operation).backward") }

  /// Parts of the whole, largest first.
  var shares: [(name: String, share: Double)] {
    let all = seconds.values.reduce(0, +)
    return seconds.map { (name: $0.key, share: $0.value / max(all, 1e-12)) }
      .sorted { ($1.share, $0.name) < ($0.share, $1.name) }
  }
}
