import CMPI
import Support

/// Collectives of ranks that share memory: threads of one process, or processes of one node.
///
/// Every rank copies its data once into its own slot; after a barrier the peers read it there.
/// Messages larger than a slot go in pieces, so the memory is bounded and stays in cache.
/// The first piece carries a header that says which call this is; after the first barrier all ranks
/// compare the headers, so different calls end in the same COMM-002 on every rank and not in
/// garbage or a hang.
final class SharedExchange: Exchange {
  let rank: Int
  let size: Int
  let label: String
  let sizes: SharedMemorySizes
  let patience: BarrierPatience
  let sources: SourceTable

  private let origin: any SegmentSource
  private var segments: Segments
  private var layout: SlotLayout
  private(set) var canGrow: Bool
  private var calls = 0
  /// Pieces since the segments were made; selects the slot.
  var turn = 0

  /// Nil if there is no room for the segments; then for all members.
  init?(
    rank: Int, size: Int, label: String, sizes: SharedMemorySizes, patience: BarrierPatience,
    origin: any SegmentSource
  ) throws(Fault) {
    // A slot must hold at least one vector for every peer.
    let first = Self.rounded(max(sizes.initialSlot, 128 * size))
    let layout = SlotLayout(ranks: size, capacity: first)
    guard let segments = try origin.segments(bytesPerRank: layout.segmentBytes) else { return nil }
    self.rank = rank
    self.size = size
    self.label = label
    self.sizes = sizes
    self.patience = patience
    self.origin = origin
    self.segments = segments
    self.layout = layout
    canGrow = first < sizes.largestSlot
    sources = SourceTable(count: size)
  }

  /// Data bytes of a slot now; equal on all members.
  var capacity: Int { layout.capacity }

  private static func rounded(_ bytes: Int) -> Int { (bytes + 63) / 64 * 64 }

  func data(_ member: Int, turn: Int) -> UnsafeMutableRawPointer {
    layout.data(segments.bases[member], turn: turn)
  }

  func header(_ member: Int) -> UnsafeMutablePointer<Int64> {
    layout.header(segments.bases[member], turn: turn)
  }

  /// Waits until all members are here; what they wrote before is then visible.
  func arrive() throws(Fault) {
    let error = cmpi_barrier_wait(
      segments.barrier, patience.spins, patience.timeout, patience.drivesMPI ? 1 : 0)
    if error == 0 { return }
    if error == Int32(CMPI_POISONED) {
      let who = cmpi_barrier_poisoned_by(segments.barrier)
      throw Fault(
        .rankLeft, "member \(who) of group \(label) ended while member \(rank) waits for it",
        at: .operation("call \(calls) on \(label)"),
        fix: "mend the failure of that rank; this one is only its consequence")
    }
    var fault = Fault(
      .rankLate, "member \(rank) of group \(label) waited in vain for the others",
      at: .operation("call \(calls) on \(label)"),
      fix: "look at what the other ranks are doing")
    fault.cause = errorText(error)
    throw fault
  }

  // MARK: Agreeing on the call

  /// What all members must have in common.
  struct Signature {
    let kind: CollectiveKind
    /// Root or kind of reduction.
    var detail = 0
    /// Size of the whole exchange where all members know it.
    var bytes = 0
  }

  /// Begins a call: makes slots larger if the message wants it, and signs the first piece.
  func open(_ signature: Signature, wants bytes: Int) throws(Fault) {
    calls += 1
    sign(signature)
    guard bytes > capacity, canGrow else { return }
    // A round of headers alone first: growing is collective, so it must be sure that all grow.
    try arriveAndCompare(signature)
    try finishOpening(signature, wants: bytes)
  }

  /// Grows after a round in which the members saw each other's headers.
  func finishOpening(_ signature: Signature, wants bytes: Int) throws(Fault) {
    turn += 1
    if bytes > capacity, canGrow { try grow(to: bytes) }
    sign(signature)
  }

  private func sign(_ signature: Signature) {
    let words = header(rank)
    words[0] = Int64(calls)
    words[1] = Int64(CollectiveKind.allCases.firstIndex(of: signature.kind) ?? 0)
    words[2] = Int64(signature.detail)
    words[3] = Int64(signature.bytes)
  }

  /// The barrier after the first piece.
  func arriveAndCompare(_ signature: Signature) throws(Fault) {
    try arrive()
    let mine = header(rank)
    for member in 0..<size where member != rank {
      let words = header(member)
      if (0..<SlotLayout.headerWords).allSatisfy({ words[$0] == mine[$0] }) { continue }
      throw Fault(
        .differentCalls, "members of group \(label) made different calls",
        at: .operation("call \(calls) on \(label)"),
        expected: "member \(rank): \(describe(mine))",
        found: "member \(member): \(describe(words))",
        fix: "this is a mistake of the program: all members must make the same calls in order")
    }
  }

  private func describe(_ words: UnsafeMutablePointer<Int64>) -> String {
    let kinds = CollectiveKind.allCases
    let kind = kinds.indices ~= Int(words[1]) ? kinds[Int(words[1])].rawValue : "unknown"
    return "call \(words[0]), \(kind), \(words[3]) bytes, detail \(words[2])"
  }

  private func grow(to bytes: Int) throws(Fault) {
    var wanted = capacity
    while wanted < bytes && wanted < sizes.largestSlot { wanted *= 2 }
    let larger = SlotLayout(ranks: size, capacity: Self.rounded(min(wanted, sizes.largestSlot)))
    guard let segments = try origin.segments(bytesPerRank: larger.segmentBytes) else {
      // No room on this node: pieces of the present size do as well, only slower.
      canGrow = false
      return
    }
    self.segments = segments
    layout = larger
    canGrow = larger.capacity < sizes.largestSlot
    turn = 0
  }

  // MARK: The plain call

  func barrier() throws(Fault) {
    let signature = Signature(kind: .barrier)
    try open(signature, wants: 0)
    try arriveAndCompare(signature)
    turn += 1
  }
}
