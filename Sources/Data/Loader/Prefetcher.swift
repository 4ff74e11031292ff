import Foundation
import Support
import Synchronization

/// Threads that make batches ahead of use, into a queue of bounded length; batches come out in order.
final class Prefetcher: Sendable {
  private struct State {
    var next: Int
    var ready: [Int: Result<FedBatch?, Fault>] = [:]
    var stopped = false
  }

  private let feed: any BatchFeed
  private let state: Mutex<State>
  /// Counts places in the queue that are free, and batches that were put in.
  private let free = DispatchSemaphore(value: 0)
  private let arrived = DispatchSemaphore(value: 0)
  private let workers: Int
  private let depth: Int
  private let step: Int
  /// Bytes of patches that one place of the queue stands for; a larger batch takes several.
  private static let placeBytes = 4 << 20

  /// - Parameters:
  ///   - workers: threads, at least 1.
  ///   - depth: most batches that are ready or in work.
  ///   - start: number of the first batch.
  ///   - step: from one batch to the next; those between are made by other ranks.
  init(feed: any BatchFeed, workers: Int, depth: Int, start: Int, step: Int = 1) {
    self.feed = feed
    self.step = max(step, 1)
    self.workers = max(workers, 1)
    self.depth = max(depth, 1)
    state = Mutex(State(next: start))
    for _ in 0..<self.depth { free.signal() }
    for _ in 0..<self.workers {
      let thread = Thread { [self] in work() }
      thread.name = "data loader"
      thread.stackSize = 8 << 20
      thread.start()
    }
  }

  private func work() {
    while true {
      free.wait()
      let claimed = state.withLock { state -> Int? in
        guard !state.stopped else { return nil }
        defer { state.next += step }
        return state.next
      }
      guard let index = claimed else { return }
      let result: Result<FedBatch?, Fault>
      do throws(Fault) { result = .success(try feed.batch(index)) } catch {
        result = .failure(error)
      }
      state.withLock { state in
        state.ready[index] = result
        // Past the end or a fault there is nothing more to make.
        if case .success(.some) = result { return }
        state.stopped = true
      }
      arrived.signal()
      // The batch is there already, so that waiting here keeps nobody from it.
      for _ in 1..<places(result) { free.wait() }
    }
  }

  /// Places that a batch takes in the queue, at least one and at most all.
  private func places(_ result: Result<FedBatch?, Fault>) -> Int {
    guard case .success(let fed?) = result else { return 1 }
    let bytes = fed.batch.media.reduce(0) { $0 + ($1.patches?.bytes.count ?? 0) }
    return min(max(bytes / Self.placeBytes, 1), depth)
  }

  /// Batch `index`; batches are asked for in order.
  func batch(_ index: Int) throws(Fault) -> FedBatch? {
    while true {
      let (result, isOver) = state.withLock { state in
        let result = state.ready[index]
        // The end and a fault stay, so that asking again gives the same and waits for nothing.
        if case .success(.some)? = result { state.ready[index] = nil }
        return (result, state.stopped && index >= state.next)
      }
      if let result {
        for _ in 0..<places(result) { free.signal() }
        return try result.get()
      }
      // No thread will make it: the data ended before.
      if isOver { return nil }
      arrived.wait()
    }
  }

  /// Lets the threads end; batches in work are thrown away.
  func stop() {
    state.withLock { $0.stopped = true }
    for _ in 0..<workers * depth { free.signal() }
  }
}
