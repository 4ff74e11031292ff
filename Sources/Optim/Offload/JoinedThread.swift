import Glibc
import Support

/// A plain thread that is waited for: transfers block, which no task pool may do.
struct JoinedThread {
  private final class Job: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  private let handle: pthread_t

  /// - Throws: `OPTIM-302` if the system starts no thread.
  init(_ body: @escaping @Sendable () -> Void) throws(Fault) {
    let job = Unmanaged.passRetained(Job(body))
    var thread = pthread_t()
    let error = pthread_create(
      &thread, nil,
      { argument in
        guard let argument else { return nil }
        Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().body()
        return nil
      }, job.toOpaque())
    guard error == 0 else {
      job.release()
      throw Fault(
        .offloadFailed, "no thread for transfers could be started",
        found: String(cString: strerror(error)))
    }
    handle = thread
  }

  func join() { pthread_join(handle, nil) }
}
