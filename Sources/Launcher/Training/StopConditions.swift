import Foundation
import Parallel
import Support

/// Reasons to save now or to leave, agreed over all ranks at the end of each step.
struct StopConditions {
  enum Reason: Int64, Sendable {
    case none = 0
    case interval = 1
    case duration = 2
    case signal = 3

    var exitCode: ExitCode { self == .none || self == .interval ? .done : .stoppedOnRequest }
    var text: String? {
      switch self {
      case .none: return nil
      case .interval: return "stopping at exit_interval"
      case .duration: return "stopping because the time is up"
      case .signal: return "stopping on a signal"
      }
    }
  }

  private let run: TrainingRun
  private let start = Date()
  private let limit: Double?
  private let signals: () -> SignalRequest

  /// - Parameter signals: what has arrived since it was asked last.
  init(_ run: TrainingRun, signals: @escaping () -> SignalRequest) {
    self.run = run
    self.signals = signals
    let minutes = run.options.extra.exitDurationInMins.map { Double($0) * 60 }
    let after = run.options.run.stopAfterSeconds.map { Double($0) }
    limit = [minutes, after].compactMap { $0 }.min()
  }

  /// - Returns: whether to save, and whether to leave; the same on all ranks.
  /// - Communication: one maximum of three integers over the world.
  mutating func check(_ iteration: Int) throws(Fault) -> (saves: Bool, reason: Reason) {
    let signals = signals()
    var reason = Reason.none
    if let every = run.options.extra.exitInterval, iteration % every == 0 { reason = .interval }
    if let limit, Date().timeIntervalSince(start) >= limit { reason = .duration }
    if signals.contains(.stop) || signals.contains(.stopNow) { reason = .signal }
    var words: [Int64] = [
      reason.rawValue, signals.contains(.save) ? 1 : 0, signals.contains(.report) ? 1 : 0,
    ]
    if run.groups.world.size > 1 {
      try words.withUnsafeMutableBufferPointer { (p) throws(Fault) in
        try run.groups.world.allReduceMax(p)
      }
    }
    if words[2] != 0 {
      Terminal.write(
        "rank \(run.groups.world.rank): iteration \(iteration) of \(run.trainIterations) is done\n",
        to: .error)
    }
    let agreed = Reason(rawValue: words[0]) ?? .none
    return (words[1] != 0 || agreed != .none, agreed)
  }
}
