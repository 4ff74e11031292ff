import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What the outside asked of a run; a union of several signals.
public struct SignalRequest: OptionSet, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// USR1, CONT: save at the end of this step and go on.
  public static let save = SignalRequest(rawValue: 1)
  /// USR2: print where every rank is and go on.
  public static let report = SignalRequest(rawValue: 2)
  /// TERM, INT, XCPU: finish the step, save if time allows, leave with exit code 75.
  public static let stop = SignalRequest(rawValue: 4)
  /// A second TERM or INT after the first was seen: leave without finishing anything.
  public static let stopNow = SignalRequest(rawValue: 8)
}

/// The signals of a run as flags that the training loop reads at the end of a step.
///
/// The handler does nothing but set a bit, the only thing that is safe inside one. All ranks agree
/// on the union (maximum over ranks, bit by bit) before they act on it, because they see a signal
/// at different steps.
public enum SignalFlags {
  /// Bits of `SignalRequest` that arrived and were not taken yet. A signal handler can reach
  /// nothing but a global, and an atomic constant is the only global it may touch.
  private static let pending = Atomic<UInt32>(0)
  /// `Clock.monotonicSeconds` of the newest signal, as bits; below zero before the first.
  private static let newest = Atomic<UInt64>((-Double.infinity).bitPattern)

  /// Signals that set a flag.
  static let handled: [Int32] = [SIGUSR1, SIGCONT, SIGUSR2, SIGTERM, SIGINT, SIGXCPU]

  /// Installs the handlers; a broken pipe or a file above the size limit becomes an error of the
  /// write instead of the end.
  public static func install() {
    // Initialised here, never inside a handler.
    _ = pending.load(ordering: .relaxed)
    _ = newest.load(ordering: .relaxed)
    // `signal` of the C library keeps the handler and restarts interrupted calls.
    for number in handled { signal(number) { SignalFlags.arrived($0) } }
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
  }

  private static func arrived(_ number: Int32) {
    let request: SignalRequest
    switch number {
    case SIGUSR1, SIGCONT: request = .save
    case SIGUSR2: request = .report
    default:
      let seen = SignalRequest(rawValue: pending.load(ordering: .relaxed))
      request = seen.contains(.stop) ? [.stop, .stopNow] : .stop
    }
    // The clock is one of the few calls that are safe in a handler.
    newest.store(Clock.monotonicSeconds().bitPattern, ordering: .relaxed)
    pending.bitwiseOr(request.rawValue, ordering: .relaxed)
  }

  /// What is asked for, without taking it.
  public static var current: SignalRequest {
    SignalRequest(rawValue: pending.load(ordering: .relaxed))
  }

  /// Seconds since the newest signal; infinite before the first.
  public static var secondsSinceNewest: Double {
    Clock.monotonicSeconds() - Double(bitPattern: newest.load(ordering: .relaxed))
  }

  /// Takes the requests that can be fulfilled more than once; a stop stays until the end.
  public static func take() -> SignalRequest {
    let repeatable = SignalRequest([.save, .report]).rawValue
    return SignalRequest(
      rawValue: pending.bitwiseAnd(~repeatable, ordering: .relaxed).oldValue)
  }

  /// Forgets everything; for tests.
  static func reset() {
    pending.store(0, ordering: .relaxed)
    newest.store((-Double.infinity).bitPattern, ordering: .relaxed)
  }
}
