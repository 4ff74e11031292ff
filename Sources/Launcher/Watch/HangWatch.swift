import Foundation
import Parallel
import Support
import Synchronization

/// A thread beside each rank that ends a job whose ranks wait for one that does not come.
///
/// A rank that sees no progress writes where it stands into the folder of the run, reads what the
/// others wrote, and the first of them tells it all and leaves; mpirun then ends the rest. Files
/// and not messages, because the thread that may speak MPI is the one that waits.
final class HangWatch: Sendable {
  private let clock: Mutex<HangClock>
  private let log: OperationLog
  private let rank: Int
  private let size: Int
  private let folder: String
  private let isOver = Atomic(false)

  /// Seconds between two looks, and that the others have to write where they stand.
  private static let interval = 0.25
  private static let grace = 1.5

  /// - Parameter directory: of the run, seen by all ranks.
  /// - Returns: nil for a single rank, which waits for nobody, or with `limit` 0.
  init?(_ world: any Communicator, directory: String, limit: Double?) {
    guard world.size > 1, limit != 0, let group = world as? GroupWorld else { return nil }
    clock = Mutex(HangClock(limit: limit, now: Clock.monotonicSeconds()))
    log = group.log
    rank = world.rank
    size = world.size
    folder = directory + "/.hang"
    if rank == 0 { try? FileManager.default.removeItem(atPath: folder) }
    let thread = Thread { [self] in watch() }
    thread.name = "hang watch"
    thread.start()
  }

  func stepEnded() { clock.withLock { $0.stepEnded(Clock.monotonicSeconds()) } }

  /// Around work that makes no collectives and may take long.
  func pause() { clock.withLock { $0.pause(Clock.monotonicSeconds()) } }
  func resume() { clock.withLock { $0.resume(Clock.monotonicSeconds()) } }

  func stop() { isOver.store(true, ordering: .relaxed) }

  private func watch() {
    while !isOver.load(ordering: .relaxed) {
      Thread.sleep(forTimeInterval: Self.interval)
      let last = log.recent.last
      let operations = last.map { 2 * $0.number + ($0.isDone ? 1 : 0) } ?? 0
      let idle = clock.withLock { clock -> Double? in
        let now = Clock.monotonicSeconds()
        clock.look(operations: operations, now)
        return clock.isHanging(now) ? clock.idle(now) : nil
      }
      if let idle { leave(RankState(last, seconds: idle)) }
    }
  }

  private func leave(_ state: RankState) {
    let files = FileManager.default
    try? files.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try? AtomicFile.write(Array(state.text.utf8), to: path(rank))
    Thread.sleep(forTimeInterval: Self.grace)
    // Ranks before this one that answered speak for all.
    let states = (0..<size).map { rank in
      files.contents(atPath: path(rank)).flatMap {
        RankState(text: String(decoding: $0, as: UTF8.self))
      }
    }
    let speaker = states.firstIndex { $0 != nil } ?? rank
    guard speaker == rank, !isOver.load(ordering: .relaxed) else {
      Thread.sleep(forTimeInterval: 3 * Self.grace)
      return
    }
    try? files.removeItem(atPath: folder)
    Terminal.write(HangReport.fault(states).description + "\n", to: .error)
    Thread.sleep(forTimeInterval: 0.2)
    // Not through MPI, which belongs to the thread that hangs.
    _exit(ExitCode.communication.rawValue)
  }

  private func path(_ rank: Int) -> String { "\(folder)/rank-\(rank).json" }
}
