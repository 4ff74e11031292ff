import Support

/// In which order the summands of the ranks of a group are added. Both are balanced binary trees
/// over the ranks; a group whose size is no power of two is split at the largest power of two
/// below it.
public enum TreeOrder: Sendable {
  /// ((0+1)+(2+3))+…: ranks own neighbouring runs of a dimension (tensor and sequence parallel).
  case adjacentFirst
  /// ((0+2)+(1+3)) for four ranks: ranks own strided parts (rows of the global batch over data
  /// parallel ranks): partners at distance n/2 first, at distance 1 last.
  case distantFirst
}

/// The collectives of one group of ranks. Every member must make the same calls in the same order.
///
/// Sums of floats are never left to the library: their order is part of the result
/// (docs/decisions/0002-canonical-order.md), so every conforming world adds along `TreeOrder`.
/// A group of one does nothing. Buffers must not overlap unless said so.
/// - Throws: `COMM-…` faults; after one the group is unusable and the job must end.
public protocol Communicator: AnyObject, Sendable {
  /// This process' place in the group, `0..<size`.
  var rank: Int { get }
  var size: Int { get }
  /// `tp`, `dp`, `ep`, …: for messages and counters.
  var label: String { get }

  func barrier() throws(Fault)

  /// `receive` is `size` blocks of `send.count` bytes, in rank order.
  func allGather(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer
  ) throws(Fault)

  /// Blocks of different size: `counts[r]` bytes come from rank r, one after another.
  func allGather(
    _ send: UnsafeRawBufferPointer, into receive: UnsafeMutableRawBufferPointer, counts: [Int]
  ) throws(Fault)

  /// Byte counts per peer; blocks lie one after another in both buffers.
  func allToAll(
    _ send: UnsafeRawBufferPointer, sendCounts: [Int],
    into receive: UnsafeMutableRawBufferPointer, receiveCounts: [Int]
  ) throws(Fault)

  func broadcast(_ buffer: UnsafeMutableRawBufferPointer, from root: Int) throws(Fault)

  /// `receive[i] = Σ over ranks of send[rank·receive.count + i]`; `send.count = size·receive.count`.
  func reduceScatter(
    _ send: UnsafeBufferPointer<Float>, into receive: UnsafeMutableBufferPointer<Float>,
    order: TreeOrder
  ) throws(Fault)

  /// Sums in place; all ranks get the same bits.
  func allReduce(_ buffer: UnsafeMutableBufferPointer<Float>, order: TreeOrder) throws(Fault)

  /// Element-wise maximum in place; NaN wins, so that a non-finite value is seen by all.
  func allReduceMax(_ buffer: UnsafeMutableBufferPointer<Float>) throws(Fault)
  func allReduceMax(_ buffer: UnsafeMutableBufferPointer<Int64>) throws(Fault)

  /// Exact, so free of order.
  func allReduceSum(_ buffer: UnsafeMutableBufferPointer<Int64>) throws(Fault)

  /// A group of the members that give the same `color`, ordered by `key`.
  func split(color: Int, key: Int, label: String) throws(Fault) -> any Communicator

  /// The group of `groups` that holds this rank; `groups` is a partition of `0..<size` into lists
  /// in rank order of the new groups, the same on every member. Unlike colors it can be followed
  /// without asking the peers, so it works while planning too.
  func split(groups: [[Int]], label: String) throws(Fault) -> any Communicator

  /// The same members in the same order once more, for a thread besides the one that drives the
  /// rank: calls on the double may run while calls on this group do. It has a log of its own.
  /// - Returns: nil, on all members alike, where only one thread may use what connects them
  ///   (messages of an MPI library that was started for one).
  /// - Communication: collective.
  func double(label: String) throws(Fault) -> (any Communicator)?
}

extension FaultCode {
  public static let communication = FaultCode(
    "COMM-001", .communication, "ranks could not exchange data")
  public static let layoutRefused = FaultCode(
    "LAYOUT-001", .layout, "the parallel layout does not fit the model or the world")
}
