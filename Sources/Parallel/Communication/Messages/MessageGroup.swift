import CMPI
import Support

/// A communicator of the MPI library with Swift types.
///
/// Never freed: groups live as long as the process, and freeing one is collective, which the end of
/// a reference's life is not.
final class MessageGroup {
  let handle: OpaquePointer
  let rank: Int
  let size: Int

  init(_ handle: OpaquePointer) {
    self.handle = handle
    rank = Int(cmpi_rank(handle))
    size = Int(cmpi_size(handle))
  }

  /// The group of the members with the same color.
  func split(color: Int, key: Int, label: String) throws(Fault) -> MessageGroup {
    var part: OpaquePointer?
    try check(cmpi_split(handle, Int64(color), Int64(key), &part), "split \(label)")
    return try Self.wrap(part, label)
  }

  /// The group of the members on this node.
  func splitNode() throws(Fault) -> MessageGroup {
    var part: OpaquePointer?
    try check(cmpi_split_node(handle, &part), "split by node")
    return try Self.wrap(part, "node")
  }

  /// One number of every member, in rank order.
  func gather(_ value: Int) throws(Fault) -> [Int] {
    var mine = Int64(value)
    var all = [Int64](repeating: 0, count: size)
    try check(cmpi_allgather(handle, &mine, 8, &all), "gather numbers")
    return all.map { Int($0) }
  }

  static func world() throws(Fault) -> MessageGroup {
    var world: OpaquePointer?
    try check(cmpi_world(&world), "world")
    return try wrap(world, "world")
  }

  private static func wrap(_ handle: OpaquePointer?, _ label: String) throws(Fault) -> MessageGroup
  {
    guard let handle else {
      throw Fault(.communication, "the MPI library made no group", at: .operation("split \(label)"))
    }
    return MessageGroup(handle)
  }
}

/// Shared memory of the processes of one node.
final class NodeSource: SegmentSource {
  private let group: MessageGroup

  /// All members of `group` must be on one node.
  init(group: MessageGroup) { self.group = group }

  private final class Owner {
    let handle: OpaquePointer
    init(_ handle: OpaquePointer) { self.handle = handle }
    deinit { cmpi_segments_free(handle) }
  }

  func segments(bytesPerRank: Int) throws(Fault) -> Segments? {
    var handle: OpaquePointer?
    try check(
      cmpi_segments_create(group.handle, Int64(bytesPerRank), &handle), "make shared memory")
    guard let handle, let barrier = cmpi_segments_barrier(handle) else { return nil }
    let owner = Owner(handle)
    let bases = (0..<group.size).compactMap { cmpi_segments_base(handle, Int32($0)) }
    return Segments(bases: bases, barrier: barrier, owner: owner)
  }
}
