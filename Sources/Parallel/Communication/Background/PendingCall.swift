import Dispatch
import Support
import Synchronization
import Tensor

/// A collective that was started and may not be complete.
public final class PendingCall: Sendable {
  private struct State {
    var isDone = false
    var fault: Fault?
    var seconds = 0.0
    var waited = 0.0
  }
  private let state = Mutex(State())
  /// Signalled once at the end; whoever is let through lets the next one through.
  private let ended = DispatchSemaphore(value: 0)
  private let body: @Sendable () throws(Fault) -> Void
  private let kind: CollectiveKind
  private let label: String
  private let bytes: Int
  private let log: OperationLog?

  init(
    _ kind: CollectiveKind, label: String, bytes: Int, log: OperationLog?,
    _ body: @escaping @Sendable () throws(Fault) -> Void
  ) {
    self.kind = kind
    self.label = label
    self.bytes = bytes
    self.log = log
    self.body = body
  }

  /// Makes the call, or takes over the fault of one before it.
  /// - Returns: its fault.
  func run(after earlier: Fault?) -> Fault? {
    let start = Clock.monotonicSeconds()
    var fault = earlier
    if earlier == nil {
      do throws(Fault) { try body() } catch { fault = error }
    }
    finish(fault, seconds: Clock.monotonicSeconds() - start)
    return fault
  }

  /// Ends a call that is never made.
  func abandon() {
    finish(
      Fault(
        .internalError, "the thread for collectives ended before this call",
        at: .operation("\(kind.rawValue) on \(label)")), seconds: 0)
  }

  private func finish(_ fault: Fault?, seconds: Double) {
    state.withLock {
      $0.isDone = true
      $0.fault = fault
      $0.seconds = seconds
    }
    ended.signal()
  }

  public var isDone: Bool { state.withLock { $0.isDone } }
  /// How long the call itself took, in seconds; 0 before it is complete.
  public var seconds: Double { state.withLock { $0.seconds } }
  /// How long ranks' threads have waited for it, in seconds.
  public var waitedSeconds: Double { state.withLock { $0.waited } }

  /// Returns when the call is complete. What it wrote is then visible.
  /// - Throws: what the call met, each time.
  public func wait() throws(Fault) {
    if !isDone {
      // In the log of the rank, so that a watchdog sees what it waits for.
      log?.begin(kind, label: label, bytes: bytes)
      let start = Clock.monotonicSeconds()
      ended.wait()
      ended.signal()
      let waited = Clock.monotonicSeconds() - start
      state.withLock { $0.waited += waited }
      log?.end()
    }
    if let fault = state.withLock({ $0.fault }) { throw fault }
  }
}

/// Weights that a collective brings. Its fault is not lost: `wait` throws it later.
extension PendingCall: WeightArrival {
  public func await() { try? wait() }
}
