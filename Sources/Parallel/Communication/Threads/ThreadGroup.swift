import CMPI
import Support
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// What the threads of one group share: a barrier, the places of their segments, and the groups
/// split from it.
final class ThreadGroup: @unchecked Sendable {
  /// World ranks of the members, in order.
  let members: [Int]
  let barrier: OpaquePointer
  private let hub: ThreadHub

  private struct State {
    /// Per round of allocation the segment of each member.
    var rounds: [Int: [HeapSegment?]] = [:]
    var children: [Child: ThreadGroup] = [:]
  }
  private struct Child: Hashable {
    let number: Int
    let color: Int
  }
  private let state = Mutex(State())

  init(members: [Int], hub: ThreadHub) throws(Fault) {
    guard let barrier = cmpi_barrier_create(Int32(members.count)) else {
      throw Fault(.communication, "no memory for a barrier")
    }
    self.members = members
    self.barrier = barrier
    self.hub = hub
    hub.add(self)
  }

  deinit { cmpi_barrier_destroy(barrier) }

  /// The group that the members with `color` made in the parent's split number `number`.
  func child(number: Int, color: Int, members: [Int]) throws(Fault) -> ThreadGroup {
    let key = Child(number: number, color: color)
    if let known = state.withLock({ $0.children[key] }) { return known }
    let made = try ThreadGroup(members: members, hub: hub)
    return state.withLock { state in
      // Two members may get here at once; the first one's group is taken.
      if let known = state.children[key] { return known }
      state.children[key] = made
      return made
    }
  }

  func put(_ segment: HeapSegment, of member: Int, round: Int) {
    state.withLock {
      $0.rounds[round, default: [HeapSegment?](repeating: nil, count: members.count)][member] =
        segment
    }
  }

  func take(round: Int) -> [HeapSegment] {
    state.withLock { state in
      state.rounds[round - 2] = nil
      return (state.rounds[round] ?? []).compactMap { $0 }
    }
  }
}

/// One member's memory.
final class HeapSegment: @unchecked Sendable {
  let base: UnsafeMutableRawPointer

  init(bytes: Int) {
    base = .allocate(byteCount: bytes, alignment: 64)
    base.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
  }

  deinit { base.deallocate() }
}

/// Segments of threads: each takes its own from the heap and tells the others where it is.
final class HeapSource: SegmentSource {
  private let group: ThreadGroup
  private let member: Int
  private let patience: BarrierPatience
  private var round = 0

  init(group: ThreadGroup, member: Int, patience: BarrierPatience) {
    self.group = group
    self.member = member
    self.patience = patience
  }

  func segments(bytesPerRank: Int) throws(Fault) -> Segments? {
    group.put(HeapSegment(bytes: bytesPerRank), of: member, round: round)
    let error = cmpi_barrier_wait(group.barrier, patience.spins, patience.timeout, 0)
    guard error == 0 else {
      var fault = Fault(
        error == Int32(CMPI_TIMEOUT) ? .rankLate : .rankLeft,
        "a member ended or is late while the group gets its memory")
      fault.cause = errorText(error)
      throw fault
    }
    let all = group.take(round: round)
    round += 1
    return Segments(bases: all.map(\.base), barrier: group.barrier, owner: all as AnyObject)
  }
}

/// All groups of one run, so that a rank that ends can release those that wait for it.
final class ThreadHub: Sendable {
  private struct State {
    var groups: [ThreadGroup] = []
    var departed: [Int] = []
  }
  private let state = Mutex(State())

  func add(_ group: ThreadGroup) {
    let gone = state.withLock { state in
      state.groups.append(group)
      return state.departed
    }
    for rank in gone { poison(group, rank) }
  }

  /// World rank `rank` makes no further calls.
  func depart(_ rank: Int) {
    let groups = state.withLock { state in
      state.departed.append(rank)
      return state.groups
    }
    for group in groups { poison(group, rank) }
  }

  /// Breaks the cycle hub, group, hub at the end of the run.
  func clear() { state.withLock { $0.groups = [] } }

  private func poison(_ group: ThreadGroup, _ rank: Int) {
    guard let member = group.members.firstIndex(of: rank) else { return }
    cmpi_barrier_poison(group.barrier, Int32(member))
  }
}
