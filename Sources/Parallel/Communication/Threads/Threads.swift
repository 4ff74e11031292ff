import Support

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Plain threads that are joined: ranks block in collectives, which no task pool may do.
enum Threads {
  private final class Job: Sendable {
    let index: Int
    let body: @Sendable (Int) -> Void

    init(index: Int, body: @escaping @Sendable (Int) -> Void) {
      self.index = index
      self.body = body
    }
  }

  /// Runs `body(0)` … `body(count-1)` at the same time and returns when all have ended.
  ///
  /// `abandon` is told of each thread that could not be started, before the others are joined.
  static func run(
    count: Int, stackBytes: Int, abandon: (Int) -> Void,
    _ body: @escaping @Sendable (Int) -> Void
  ) throws(Fault) {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, stackBytes)
    var threads: [pthread_t] = []
    for index in 0..<count {
      do throws(Fault) {
        threads.append(
          try start(
            Job(index: index, body: body), &attributes, "thread \(index) of \(count)",
            fix: "use fewer ranks"))
      } catch {
        for missing in index..<count { abandon(missing) }
        for thread in threads { pthread_join(thread, nil) }
        throw error
      }
    }
    for thread in threads { pthread_join(thread, nil) }
  }

  /// Runs `body` on a thread that nobody joins.
  static func detach(_ body: @escaping @Sendable () -> Void) throws(Fault) {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    _ = try start(
      Job(index: 0) { _ in body() }, &attributes, "the thread for collectives",
      fix: "leave out --overlap_grad_reduce")
  }

  /// - Throws: `COMM-001` that names `what` when the system starts no thread.
  private static func start(
    _ job: Job, _ attributes: inout pthread_attr_t, _ what: String, fix: String
  ) throws(Fault) -> pthread_t {
    let job = Unmanaged.passRetained(job)
    var thread = pthread_t()
    let error = pthread_create(
      &thread, &attributes,
      { argument in
        guard let argument else { return nil }
        let job = Unmanaged<Job>.fromOpaque(argument).takeRetainedValue()
        job.body(job.index)
        return nil
      }, job.toOpaque())
    guard error == 0 else {
      job.release()
      throw Fault(
        .communication, "\(what) could not be started", found: String(cString: strerror(error)),
        fix: fix)
    }
    return thread
  }
}
