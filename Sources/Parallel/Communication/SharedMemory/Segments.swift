import CMPI
import Support

/// Memory that all members of a group can read: one piece per member, and a barrier.
struct Segments {
  /// Where the piece of each member begins, in this process' addresses.
  let bases: [UnsafeMutableRawPointer]
  let barrier: OpaquePointer
  /// Keeps the memory alive.
  let owner: AnyObject
}

/// Where segments come from: the heap for threads, shared memory for processes.
protocol SegmentSource: AnyObject {
  /// Called by all members together. Nil, for all, if there is no room.
  func segments(bytesPerRank: Int) throws(Fault) -> Segments?
}

/// How to wait at a barrier in shared memory.
struct BarrierPatience: Sendable {
  /// Looks at the barrier before sleeping; 0 where more ranks than cores run.
  var spins: Int32
  /// Milliseconds after which waiting is a COMM-004, negative for never.
  var timeout: Int64 = -1
  /// Lets the MPI library work while this rank sleeps.
  var drivesMPI = false

  /// Spinning pays only when every rank of the node can have a core of its own.
  static func spins(ranksOnNode: Int) -> Int32 {
    let usable = Int(cmpi_usable_cores())
    // One usable core on a larger machine: the launcher bound each rank to its own.
    let cores = usable == 1 ? Int(cmpi_online_cores()) : usable
    return ranksOnNode <= cores ? 1500 : 0
  }
}

/// Places inside a segment: three slots, used in turn, each a header and data.
///
/// Three, because in one interval between barriers a rank may fill slot k while its peers add up
/// slot k-1 and copy the finished sums out of slot k-2. Slot k-3 was left before the last barrier.
struct SlotLayout {
  static let slots = 3
  /// Words of the header before the per-rank counts: call, kind, detail, bytes.
  static let headerWords = 4
  let ranks: Int
  /// Data bytes of one slot, a multiple of 64.
  let capacity: Int

  private var headerBytes: Int { ((Self.headerWords + 2 * ranks) * 8 + 63) / 64 * 64 }
  private var slotBytes: Int { headerBytes + capacity }
  var segmentBytes: Int { Self.slots * slotBytes }

  func header(_ base: UnsafeMutableRawPointer, turn: Int) -> UnsafeMutablePointer<Int64> {
    (base + turn % Self.slots * slotBytes).assumingMemoryBound(to: Int64.self)
  }

  func data(_ base: UnsafeMutableRawPointer, turn: Int) -> UnsafeMutableRawPointer {
    base + (turn % Self.slots * slotBytes + headerBytes)
  }
}

/// Sizes of the shared memory of one group, bytes.
public struct SharedMemorySizes: Sendable {
  /// Data of one slot at first; there are three per rank.
  public var initialSlot: Int
  /// Limit to which slots grow when a message is larger; larger messages go in pieces.
  public var largestSlot: Int
  /// Up to here a sum takes one barrier and every rank adds everything.
  public var small: Int

  public init(initialSlot: Int = 64 << 10, largestSlot: Int = 1 << 20, small: Int = 16 << 10) {
    self.initialSlot = initialSlot
    self.largestSlot = largestSlot
    self.small = small
  }
}
