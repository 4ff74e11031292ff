import Glibc
import Support
import Synchronization

/// Memory of one rank, taken from the system once and used again: a steady training step
/// allocates nothing (a fresh 4 KiB page costs ten times its own memory traffic).
///
/// Blocks are kept by size class, eight classes per power of two, so at most an eighth is lost.
/// Large blocks are aligned to 2 MiB and asked for as huge pages.
public final class Arena: Sendable {
  /// What the arena holds and what it lent out, in bytes.
  public struct Usage: Sendable {
    public var reserved = 0
    public var inUse = 0
    public var peak = 0
    /// Blocks asked from the system since the start.
    public var systemAllocations = 0
  }

  private struct Block: @unchecked Sendable { let address: UnsafeMutableRawPointer }
  private struct State: Sendable {
    var free: [Int: [Block]] = [:]
    var usage = Usage()
  }
  private let state = Mutex(State())

  public init() {}

  public var usage: Usage { state.withLock { $0.usage } }

  /// Size class that holds `bytes`.
  static func sizeClass(_ bytes: Int) -> Int {
    if bytes <= 4096 { return max(64, bytes.nextPowerOfTwo) }
    let step = bytes.nextPowerOfTwo / 16
    return (bytes + step - 1) / step * step
  }

  /// - Throws: `MEM-001` when the system has no more memory.
  func take(_ bytes: Int) throws(Fault) -> UnsafeMutableRawPointer {
    let size = Arena.sizeClass(bytes)
    let reused = state.withLock { state -> Block? in
      state.usage.inUse += size
      state.usage.peak = max(state.usage.peak, state.usage.inUse)
      return state.free[size]?.popLast()
    }
    if let reused { return reused.address }
    let alignment = size >= 1 << 21 ? 1 << 21 : 64
    guard let address = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
    else {
      throw Fault(
        .outOfMemory, "the system refused \(size) bytes",
        fix: "use more ranks, full recomputation, a smaller micro batch or optimizer offload")
    }
    if size >= 1 << 21 { madvise(address, size, MADV_HUGEPAGE) }
    state.withLock {
      $0.usage.reserved += size
      $0.usage.systemAllocations += 1
    }
    return address
  }

  func give(_ address: UnsafeMutableRawPointer, bytes: Int) {
    let size = Arena.sizeClass(bytes)
    let block = Block(address: address)
    state.withLock {
      $0.usage.inUse -= size
      $0.free[size, default: []].append(block)
    }
  }

  /// Returns idle blocks to the system.
  public func trim() {
    let idle = state.withLock { state -> [Block] in
      let blocks = state.free.values.flatMap { $0 }
      state.usage.reserved -= state.free.reduce(0) { $0 + $1.key * $1.value.count }
      state.free = [:]
      return blocks
    }
    for block in idle { free(block.address) }
  }

  deinit {
    state.withLock { for block in $0.free.values.flatMap({ $0 }) { free(block.address) } }
  }
}

extension Int {
  var nextPowerOfTwo: Int { self <= 1 ? 1 : 1 << (Int.bitWidth - (self - 1).leadingZeroBitCount) }
}

extension FaultCode {
  public static let outOfMemory = FaultCode("MEM-001", .memory, "no memory left")
}
