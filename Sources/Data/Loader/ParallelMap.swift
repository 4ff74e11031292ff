import Foundation
import Synchronization

/// Maps indices on plain threads; the result does not depend on their number.
///
/// Threads have a stack of 8 MiB: rows nest as deep as their writers like.
func parallelMap<Result: Sendable>(
  count: Int, threads: Int, _ body: @escaping @Sendable (Int) -> Result
) -> [Result] {
  guard threads > 1, count > 1 else { return (0..<count).map(body) }
  let chunk = max(1, min(64, count / (4 * threads)))
  let work = ParallelWork<Result>(chunks: (count + chunk - 1) / chunk)
  let group = DispatchGroup()
  for _ in 0..<min(threads, work.chunkCount) {
    group.enter()
    let thread = Thread {
      while let index = work.take() {
        let range = (index * chunk)..<min((index + 1) * chunk, count)
        work.put(range.map(body), at: index)
      }
      group.leave()
    }
    thread.stackSize = 8 << 20
    thread.start()
  }
  group.wait()
  return work.results()
}

/// Chunks still to do and chunks done.
private final class ParallelWork<Result: Sendable>: Sendable {
  private struct State: Sendable {
    var next = 0
    var done: [[Result]?]
  }

  let chunkCount: Int
  private let state: Mutex<State>

  init(chunks: Int) {
    chunkCount = chunks
    state = Mutex(State(done: [[Result]?](repeating: nil, count: chunks)))
  }

  func take() -> Int? {
    state.withLock { state in
      guard state.next < chunkCount else { return nil }
      state.next += 1
      return state.next - 1
    }
  }

  func put(_ results: [Result], at index: Int) { state.withLock { $0.done[index] = results } }

  func results() -> [Result] { state.withLock { $0.done.flatMap { $0 ?? [] } } }
}
