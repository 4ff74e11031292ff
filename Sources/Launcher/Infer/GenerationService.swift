import Dispatch
import Support
import Synchronization

/// Requests of many threads for the one thread that drives a loop.
///
/// A handler is called on the driving thread, for every event of its job and at last with an event
/// that has a finish, or with the fault that ended the loop.
final class GenerationService: Sendable {
  typealias Handler = @Sendable (Result<GenerationEvent, Fault>) -> Void

  private struct State {
    var commands: [LoopCommand] = []
    var handlers: [Int: Handler] = [:]
    var nextID = 1
    var failure: Fault?
    var isClosed = false
  }
  private let state = Mutex(State())
  private let wake = DispatchSemaphore(value: 0)
  /// Jobs that may be open at a time.
  let capacity: Int

  init(capacity: Int = 256) { self.capacity = capacity }

  /// Jobs that are not answered yet.
  var openJobs: Int { state.withLock { $0.handlers.count } }

  /// - Returns: the id of the job, for `cancel`.
  /// - Throws: `GEN-103` when too many are open, the fault that ended the loop, or `GEN-104` after
  ///   `close`.
  func submit(_ job: GenerationJob, _ handler: @escaping Handler) throws(Fault) -> Int {
    let capacity = capacity
    let result = state.withLock { state -> Result<Int, Fault> in
      if let failure = state.failure { return .failure(failure) }
      if state.isClosed {
        return .failure(Fault(.generationClosed, "the engine takes no more requests"))
      }
      guard state.handlers.count < capacity else {
        return .failure(
          Fault(
            .tooManyRequests, "\(capacity) requests are waiting already", fix: "try again later"))
      }
      var job = job
      job.id = state.nextID
      state.nextID += 1
      state.handlers[job.id] = handler
      state.commands.append(.submit(job))
      return .success(job.id)
    }
    wake.signal()
    return try result.get()
  }

  /// Ends a job; its handler gets a last event.
  func cancel(_ id: Int) {
    state.withLock { if $0.handlers[id] != nil { $0.commands.append(.cancel(id)) } }
    wake.signal()
  }

  /// Ends the loop after the step at hand; open jobs are given up.
  func close() {
    state.withLock {
      $0.isClosed = true
      $0.commands.append(.close)
    }
    wake.signal()
  }

  /// The life of the driving thread, until `close`.
  /// - Throws: what a step throws, after every handler was told.
  func drive(_ driver: LoopDriver) throws(Fault) {
    do throws(Fault) {
      while !driver.isClosed {
        let commands = takeCommands()
        if commands.isEmpty, driver.isIdle {
          wake.wait()
          continue
        }
        for event in try driver.turn(commands) { deliver(event) }
      }
      fail(Fault(.generationClosed, "the engine was closed"))
    } catch {
      fail(error)
      throw error
    }
  }

  private func takeCommands() -> [LoopCommand] {
    state.withLock { state in
      defer { state.commands = [] }
      return state.commands
    }
  }

  private func deliver(_ event: GenerationEvent) {
    let handler = state.withLock { state in
      event.finish == nil
        ? state.handlers[event.job] : state.handlers.removeValue(forKey: event.job)
    }
    handler?(.success(event))
  }

  private func fail(_ fault: Fault) {
    let handlers = state.withLock { state in
      state.failure = fault
      defer { state.handlers = [:] }
      return state.handlers.values.map { $0 }
    }
    for handler in handlers { handler(.failure(fault)) }
  }
}
