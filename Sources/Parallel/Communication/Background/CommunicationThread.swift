import Dispatch
import Support
import Synchronization

/// Makes collectives one after another beside the thread that drives the rank.
///
/// Its calls go to doubles of groups (`Communicator.double`). Every rank of a double must start the
/// same calls in the same order. A peer that never comes holds the thread; it then ends with the
/// process, or with the COMM-003 that a leaving rank of the same process gives. After a
/// fault a group is unusable, so later calls are not made and get the same fault; so do, with a fault
/// of their own, those that have not begun when the last reference goes.
public final class CommunicationThread: Sendable {
  private let queue = Queue()

  /// - Throws: `COMM-001` when the system starts no thread.
  public init() throws(Fault) {
    let queue = queue
    try Threads.detach {
      var fault: Fault?
      while let call = queue.take() { fault = call.run(after: fault) }
    }
  }

  deinit { queue.close() }

  /// Puts a call behind those that were started before.
  ///
  /// - Parameters:
  ///   - kind: what `body` does, for the log of the rank while it waits.
  ///   - group: the group whose double `body` uses.
  ///   - bytes: of this rank's buffer, for the log.
  ///   - body: touches no memory that the rank touches before it has waited.
  public func start(
    _ kind: CollectiveKind, on group: any Communicator, bytes: Int,
    _ body: @escaping @Sendable () throws(Fault) -> Void
  ) -> PendingCall {
    let call = PendingCall(
      kind, label: group.label, bytes: bytes, log: (group as? GroupWorld)?.log, body)
    queue.put(call)
    return call
  }

  private final class Queue: Sendable {
    private struct State {
      var calls: [PendingCall] = []
      var isClosed = false
    }
    private let state = Mutex(State())
    private let filled = DispatchSemaphore(value: 0)

    func put(_ call: PendingCall) {
      state.withLock { $0.calls.append(call) }
      filled.signal()
    }

    func close() {
      let left = state.withLock { state in
        state.isClosed = true
        defer { state.calls = [] }
        return state.calls
      }
      filled.signal()
      for call in left { call.abandon() }
    }

    /// Waits for a call; nil when there will be none.
    func take() -> PendingCall? {
      filled.wait()
      return state.withLock { $0.isClosed || $0.calls.isEmpty ? nil : $0.calls.removeFirst() }
    }
  }
}
