import Dispatch
import Glibc
import Support
import Tensor
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
  private let readQueue = DispatchQueue(label: "optimizer offload read")
  private let writeQueue = DispatchQueue(label: "optimizer offload write")

  /// - Parameter blockBytes: of the largest block.
  /// - Throws: `MEM-001`.
  init(_ file: OffloadFile, blockBytes: Int) throws(Fault) {
    self.file = file
    var slots: [AlignedMemory] = []
    for _ in 0..<OffloadStream.slotCount { slots.append(try AlignedMemory(blockBytes)) }
    self.slots = slots
  }

  var nearBytes: Int { slots.reduce(0) { $0 + $1.bytes.count } }

  /// State of one run that reader, caller and writer share.
  fileprivate final class Run: Sendable {
    let transfers: [OffloadTransfer]
    let free: [DispatchSemaphore]
    let ready: [DispatchSemaphore]
    let fault = Mutex<Fault?>(nil)
    let isCancelled = Atomic<Bool>(false)
    let group = DispatchGroup()

    init(_ transfers: [OffloadTransfer], slots: Int) {
      self.transfers = transfers
      free = (0..<slots).map { _ in DispatchSemaphore(value: 0) }
      ready = (0..<slots).map { _ in DispatchSemaphore(value: 0) }
      for semaphore in free { semaphore.signal() }
    }

    func fail(_ fault: Fault) {
      self.fault.withLock { if $0 == nil { $0 = fault } }
      isCancelled.store(true, ordering: .releasing)
    }
  }

  /// Visits the blocks in order; `next` inside `body` waits for the following one.
  /// - Throws: `OPTIM-302`, or what `body` throws; then nothing runs any more.
  func run(
    _ transfers: [OffloadTransfer], _ body: (inout Cursor) throws(Fault) -> Void
  ) throws(Fault) {
    guard !transfers.isEmpty else {
      var cursor = Cursor(stream: self, run: Run([], slots: slots.count))
      return try body(&cursor)
    }
    let run = Run(transfers, slots: slots.count)
    startReader(run)
    var cursor = Cursor(stream: self, run: run)
    do throws(Fault) {
      try body(&cursor)
    } catch {
      run.fail(error)
    }
    if cursor.index < transfers.count { run.isCancelled.store(true, ordering: .releasing) }
    for semaphore in run.free { semaphore.signal() }
    run.group.wait()
    file.dropCache()
    if let fault = run.fault.withLock({ $0 }) { throw fault }
  }

  private func startReader(_ run: Run) {
    let (file, slots) = (file, slots)
    readQueue.async(group: run.group) {
      for (i, transfer) in run.transfers.enumerated() {
        let slot = i % slots.count
        run.free[slot].wait()
        if !run.isCancelled.load(ordering: .acquiring) {
          do throws(Fault) {
            try file.read(slots[slot].prefix(transfer.byteCount), at: transfer.offset)
          } catch {
            run.fail(error)
          }
        }
        run.ready[slot].signal()
        if run.isCancelled.load(ordering: .acquiring) { return }
      }
    }
  }

  private func finish(_ i: Int, _ run: Run) {
    let transfer = run.transfers[i]
    let slot = i % slots.count
    guard transfer.writes else {
      run.free[slot].signal()
      return
    }
    let (file, memory) = (file, slots[slot])
    writeQueue.async(group: run.group) {
      if !run.isCancelled.load(ordering: .acquiring) {
        do throws(Fault) {
          try file.write(memory.prefix(transfer.byteCount), at: transfer.offset)
        } catch {
          run.fail(error)
        }
      }
      run.free[slot].signal()
    }
  }

  /// Walks over the blocks of a run.
  struct Cursor {
    fileprivate let stream: OffloadStream
    fileprivate let run: Run
    fileprivate var index = 0

    fileprivate init(stream: OffloadStream, run: Run) {
      self.stream = stream
      self.run = run
    }

    /// Lends the memory of the next block to `body`, then gives it on to the writer.
    /// - Throws: `OPTIM-302`, or what `body` throws.
    mutating func next(
      _ body: (UnsafeMutableRawPointer) throws(Fault) -> Void
    ) throws(Fault) {
      let slot = index % stream.slots.count
      run.ready[slot].wait()
      if let fault = run.fault.withLock({ $0 }) { throw fault }
      try body(stream.slots[slot].bytes.baseAddress!)
      stream.finish(index, run)
      index += 1
    }
  }
}

/// Memory aligned for direct transfers.
///
/// Unchecked: a block is handed from reader to caller to writer, never shared.
final class AlignedMemory: @unchecked Sendable {
  let bytes: UnsafeMutableRawBufferPointer

  /// - Throws: `MEM-001`.
  init(_ byteCount: Int) throws(Fault) {
    let count = max(byteCount, 1).rounded(upTo: OffloadFile.alignment)
    guard let address = aligned_alloc(OffloadFile.alignment, count) else {
      throw Fault(.outOfMemory, "the system refused \(count) bytes for offload buffers")
    }
    bytes = UnsafeMutableRawBufferPointer(start: address, count: count)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit { free(bytes.baseAddress) }

  func prefix(_ count: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: bytes[0..<count])
  }
}
