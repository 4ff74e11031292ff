import Dispatch
import Support
import Synchronization

/// A block of the far file on its way through the update.
struct OffloadTransfer: Sendable {
  let offset: Int
  let byteCount: Int
  /// The block goes back to the file.
  let writes: Bool
}

/// Moves blocks file → memory → file in order, with read-ahead and write-behind.
///
///     reader    wait until slot i mod 4 is free, read block i
///     caller    wait until block i is there, update it in place
///     writer    write block i, free its slot
///
/// The order of blocks is the caller's; nothing is read before what was written to it, because a
/// run visits a place for writing at most once and last, and ends when all is written.
final class OffloadStream {
  static let slotCount = 4
  private let file: OffloadFile
  private let slots: [AlignedMemory]

  /// - Parameter blockBytes: of the largest block.
  /// - Throws: `MEM-001`.
  init(_ file: OffloadFile, blockBytes: Int) throws(Fault) {
    self.file = file
    var slots: [AlignedMemory] = []
    for _ in 0..<OffloadStream.slotCount { slots.append(try AlignedMemory(blockBytes)) }
    self.slots = slots
  }

  var nearBytes: Int { slots.reduce(0) { $0 + $1.bytes.count } }

  /// Visits the blocks in order: `body` takes them one after another from the cursor.
  /// - Throws: `OPTIM-302`, or what `body` throws; then nothing runs any more.
  func run(
    _ transfers: [OffloadTransfer], _ body: (inout Cursor) throws(Fault) -> Void
  ) throws(Fault) {
    let run = Run(file, slots, transfers)
    let reader = try JoinedThread { run.read() }
    var writer: JoinedThread?
    var cursor = Cursor(run: run)
    do throws(Fault) {
      writer = try JoinedThread { run.write() }
      try body(&cursor)
    } catch {
      run.fail(error)
    }
    if cursor.index < transfers.count { run.cancel() }
    reader.join()
    writer?.join()
    file.dropCache()
    if let fault = run.fault { throw fault }
  }

  /// Walks over the blocks of a run.
  struct Cursor {
    fileprivate let run: Run
    fileprivate var index = 0

    fileprivate init(run: Run) { self.run = run }

    /// Lends the memory of the next block to `body`, then gives it on to the writer.
    /// - Throws: `OPTIM-302`, or what `body` throws.
    mutating func next(
      _ body: (UnsafeMutableRawPointer) throws(Fault) -> Void
    ) throws(Fault) {
      let slot = run.slot(index)
      run.ready[slot].wait()
      if let fault = run.fault { throw fault }
      guard let memory = run.slots[slot].bytes.baseAddress else { return }
      try body(memory)
      (run.transfers[index].writes ? run.done : run.free)[slot].signal()
      index += 1
    }
  }
}

/// What reader, caller and writer of one walk share. A slot belongs to whom its semaphores say.
private final class Run: Sendable {
  let file: OffloadFile
  let slots: [AlignedMemory]
  let transfers: [OffloadTransfer]
  let free: [DispatchSemaphore]
  let ready: [DispatchSemaphore]
  let done: [DispatchSemaphore]
  private let failure = Mutex<Fault?>(nil)
  private let isCancelled = Atomic<Bool>(false)

  init(_ file: OffloadFile, _ slots: [AlignedMemory], _ transfers: [OffloadTransfer]) {
    self.file = file
    self.slots = slots
    self.transfers = transfers
    // Made with 0: a semaphore may not end below the value it was made with.
    func semaphores() -> [DispatchSemaphore] { slots.map { _ in DispatchSemaphore(value: 0) } }
    (free, ready, done) = (semaphores(), semaphores(), semaphores())
    for semaphore in free { semaphore.signal() }
  }

  func slot(_ index: Int) -> Int { index % slots.count }
  var fault: Fault? { failure.withLock { $0 } }

  /// Keeps the first fault and ends the walk.
  func fail(_ fault: Fault) {
    failure.withLock { if $0 == nil { $0 = fault } }
    cancel()
  }

  /// Wakes everybody; who wakes looks here first.
  func cancel() {
    isCancelled.store(true, ordering: .sequentiallyConsistent)
    for semaphore in free + ready + done { semaphore.signal() }
  }

  private func isRunning() -> Bool { !isCancelled.load(ordering: .sequentiallyConsistent) }

  func read() {
    for (i, transfer) in transfers.enumerated() {
      let slot = slot(i)
      free[slot].wait()
      guard isRunning() else { return }
      do throws(Fault) {
        try file.read(slots[slot].prefix(transfer.byteCount), at: transfer.offset)
      } catch {
        return fail(error)
      }
      ready[slot].signal()
    }
  }

  func write() {
    for (i, transfer) in transfers.enumerated() where transfer.writes {
      let slot = slot(i)
      done[slot].wait()
      guard isRunning() else { return }
      do throws(Fault) {
        try file.write(slots[slot].prefix(transfer.byteCount), at: transfer.offset)
      } catch {
        return fail(error)
      }
      free[slot].signal()
    }
  }
}
