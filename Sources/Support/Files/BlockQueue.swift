import Foundation
import Synchronization

/// Blocks on their way into a file: put by one thread, written by another, at most a few at a time.
final class BlockQueue: Sendable {
  private struct State {
    var waiting: [(memory: AlignedBlock, offset: Int)] = []
    var idle: [AlignedBlock] = []
    var fault: Fault?
    var isStarted = false
    var isClosed = false
  }

  private static let depth = 3
  private let file: PosixFile
  private let state = Mutex(State())
  /// Counts free places, and blocks that wait.
  private let free = DispatchSemaphore(value: depth)
  private let arrived = DispatchSemaphore(value: 0)

  init(_ file: PosixFile) { self.file = file }

  /// A block that was used before, or a new one.
  func memory() -> AlignedBlock {
    state.withLock { $0.idle.popLast() } ?? AlignedBlock(BlockFile.blockBytes)
  }

  /// - Throws: `FILE-003` of an earlier block.
  func put(_ memory: AlignedBlock, at offset: Int) throws(Fault) {
    free.wait()
    let (fault, starts) = state.withLock { state -> (Fault?, Bool) in
      state.waiting.append((memory, offset))
      defer { state.isStarted = true }
      return (state.fault, !state.isStarted)
    }
    if starts {
      let thread = Thread { [self] in work() }
      thread.name = "file writer"
      thread.stackSize = 1 << 20
      thread.start()
    }
    arrived.signal()
    if let fault { throw fault }
  }

  /// Waits until all blocks are written.
  func drain() throws(Fault) {
    for _ in 0..<Self.depth { free.wait() }
    for _ in 0..<Self.depth { free.signal() }
    if let fault = state.withLock({ $0.fault }) { throw fault }
  }

  /// Ends the thread; blocks that wait are dropped.
  func close() {
    state.withLock { $0.isClosed = true }
    arrived.signal()
    // A semaphore must not die below the value it was made with.
    for _ in 0..<Self.depth { free.signal() }
  }

  private func work() {
    while true {
      arrived.wait()
      let next = state.withLock { state -> (memory: AlignedBlock, offset: Int)? in
        state.isClosed || state.waiting.isEmpty ? nil : state.waiting.removeFirst()
      }
      guard let next else { return }
      // After a fault nothing more is written, but whoever waits for a place gets one.
      if state.withLock({ $0.fault }) == nil {
        do throws(Fault) {
          try file.write(UnsafeRawBufferPointer(next.memory.bytes), at: next.offset)
        } catch {
          state.withLock { $0.fault = error }
        }
      }
      state.withLock { $0.idle.append(next.memory) }
      free.signal()
    }
  }
}
