import CMPI
import Support

/// Ranks as processes started by `mpirun`, or one process without it.
///
/// Inside a node groups use shared memory, between nodes messages. All calls must come from the
/// thread that called `start` (MPI_THREAD_FUNNELED), but for those on a `double`.
public final class MPIWorld: GroupWorld, @unchecked Sendable {
  /// What may be set at the start.
  public struct Options: Sendable {
    /// Treats runs of so many ranks as nodes of their own: tests the paths between nodes on one.
    public var ranksPerNode: Int?
    /// False sends everything through the MPI library.
    public var sharesMemory = true
    public var sizes = SharedMemorySizes()
    /// Milliseconds a rank waits in shared memory for the others; negative for ever.
    public var timeout: Int64 = -1
    /// Asks the library for calls from several threads at once, so that groups over several nodes can
    /// have doubles; those inside a node need no library once they are made.
    public var wantsThreads = false

    public init() {}
  }

  private let group: MessageGroup
  /// Ranks of the first world.
  private let members: [Int]
  private let setting: Setting

  /// Facts that all groups of the process share.
  private final class Setting {
    let options: Options
    /// Node of every rank of the first world: any numbers that are equal on a node.
    let nodeOf: [Int]
    let patience: BarrierPatience
    /// The library takes calls from several threads at once.
    let hasThreads: Bool
    init(options: Options, nodeOf: [Int], patience: BarrierPatience, hasThreads: Bool) {
      self.options = options
      self.nodeOf = nodeOf
      self.patience = patience
      self.hasThreads = hasThreads
    }

    /// For the double of a group: memory at its full size at once, because growing takes the library;
    /// sleep at once, because the core belongs to the thread that computes.
    var ofDouble: Setting {
      var options = options
      options.sizes.initialSlot = max(options.sizes.initialSlot, options.sizes.largestSlot)
      let patience = BarrierPatience(
        spins: 0, timeout: patience.timeout, drivesMPI: hasThreads)
      return Setting(
        options: options, nodeOf: nodeOf, patience: patience, hasThreads: hasThreads)
    }
  }

  /// Starts the MPI library.
  ///
  /// - Throws: COMM-005 if it cannot be started, COMM-001 if the ranks cannot meet.
  public static func start(_ options: Options = Options()) throws(Fault) -> MPIWorld {
    var hasThreads: Int32 = 0
    let error = cmpi_init(options.wantsThreads ? 1 : 0, &hasThreads)
    if error != 0 {
      var fault = Fault(
        .cannotStartMPI, "MPI_Init failed", fix: "start the program with mpirun, or check MPI")
      fault.cause = errorText(error)
      throw fault
    }
    let world = try MessageGroup.world()
    let node = try world.splitNode()
    // A node is named by its first rank in the world; artificial nodes count on from there.
    let leader = try node.gather(world.rank)[0]
    let part = options.ranksPerNode.map { node.rank / max($0, 1) } ?? 0
    let nodeOf = try world.gather(leader + part * world.size)
    let patience = BarrierPatience(
      spins: BarrierPatience.spins(ranksOnNode: node.size), timeout: options.timeout,
      drivesMPI: true)
    return MPIWorld(
      group: world, label: "world", members: Array(0..<world.size),
      setting: Setting(
        options: options, nodeOf: nodeOf, patience: patience, hasThreads: hasThreads != 0),
      log: OperationLog())
  }

  private init(
    group: MessageGroup, label: String, members: [Int], setting: Setting, log: OperationLog
  ) {
    self.group = group
    self.members = members
    self.setting = setting
    super.init(rank: group.rank, size: group.size, label: label, log: log) {
      () throws(Fault) in
      try Self.exchange(
        group: group, label: label, nodeOf: members.map { setting.nodeOf[$0] }, setting: setting)
    }
  }

  public override func split(
    color: Int, key: Int, label: String
  ) throws(Fault) -> any Communicator {
    try require(
      0...Int(Int32.max) ~= color, .split, "color \(color) is not in 0...\(Int32.max)")
    log.begin(.split, label: label, bytes: 0)
    let part = try group.split(color: color, key: key, label: label)
    let places = try part.gather(members[rank])
    log.end()
    if part.size == 1 { return alone(label: label) }
    return MPIWorld(group: part, label: label, members: places, setting: setting, log: log)
  }

  public override func double(label: String) throws(Fault) -> (any Communicator)? {
    log.begin(.split, label: label, bytes: 0)
    let part = try group.split(color: 0, key: rank, label: label)
    let twin = MPIWorld(
      group: part, label: label, members: members, setting: setting.ofDouble, log: OperationLog())
    // Made here: making it asks the library, which only this thread may.
    let exchange = try twin.exchange()
    log.end()
    return exchange is SharedExchange || setting.hasThreads ? twin : nil
  }

  /// Ends MPI; all ranks must come here. Never call it after a failure: it waits for the peers.
  public func finish() throws(Fault) {
    try check(cmpi_finalize(), "finalize")
  }

  /// Ends all ranks of the job with `code`. What was printed must be flushed before.
  public static func abort(_ code: ExitCode) -> Never { cmpi_abort(code.rawValue) }

  // MARK: Where the ranks are

  /// Node of each member as a number counted from 0 in order of appearance.
  public var nodes: [Int] {
    var seen: [Int: Int] = [:]
    return members.map { member in
      let node = setting.nodeOf[member]
      if let known = seen[node] { return known }
      seen[node] = seen.count
      return seen.count - 1
    }
  }

  /// Members on this rank's node, and this rank's place among them.
  public var localSize: Int { nodes.filter { $0 == nodes[rank] }.count }
  public var localRank: Int { nodes[..<rank].filter { $0 == nodes[rank] }.count }
  public var hostName: String { FaultWire.hostName() }
  /// Name and version of the MPI library, for the log.
  public static var libraryVersion: String { text { cmpi_library_version($0, $1) } }

  /// How the bytes of this group travel, for the log. Collective at the first call.
  public func transport() throws(Fault) -> String {
    switch try exchange() {
    case is SelfExchange: "none"
    case is SharedExchange: "shared memory"
    case is NodesExchange: "shared memory in nodes, messages between them"
    default: "messages"
    }
  }
}

// MARK: - Choosing the way

extension MPIWorld {
  /// Collective over `group`; every member comes to the same choice.
  private static func exchange(
    group: MessageGroup, label: String, nodeOf: [Int], setting: Setting
  ) throws(Fault) -> any Exchange {
    let messages = MessageExchange(group: group, label: label)
    guard setting.options.sharesMemory else { return messages }
    if Set(nodeOf).count == 1 {
      return try shared(group: group, label: label, setting: setting) ?? messages
    }
    guard let width = NodesExchange.width(of: nodeOf) else { return messages }
    let node = group.rank / width
    let local = try group.split(color: node, key: group.rank, label: "\(label) in node")
    let across = try group.split(
      color: group.rank % width, key: node, label: "\(label) across nodes")
    let inside: any Exchange =
      try shared(group: local, label: label, setting: setting)
      ?? MessageExchange(group: local, label: label)
    return NodesExchange(
      all: messages, local: inside,
      across: MessageExchange(group: across, label: label), width: width,
      nodes: group.size / width)
  }

  /// Nil if the node has no room for shared memory.
  private static func shared(
    group: MessageGroup, label: String, setting: Setting
  ) throws(Fault) -> (any Exchange)? {
    try SharedExchange(
      rank: group.rank, size: group.size, label: label, sizes: setting.options.sizes,
      patience: setting.patience, origin: NodeSource(group: group))
  }
}

/// The MPI library's own all-reduce, to compare with. Its order of additions is not ours.
///
/// - Parameter buffer: floats, summed in place.
/// - Throws: COMM-001.
extension MPIWorld {
  public func libraryAllReduce(_ buffer: UnsafeMutableBufferPointer<Float>) throws(Fault) {
    guard let base = buffer.baseAddress else { return }
    try check(
      cmpi_library_allreduce(group.handle, base, Int64(buffer.count)), "library all-reduce")
  }
}
