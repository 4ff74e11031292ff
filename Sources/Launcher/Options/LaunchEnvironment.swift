import Support

/// This process' place in the world, as the environment tells it before MPI is started.
public struct WorldInfo: Sendable, Equatable {
  public var rank = 0
  public var size = 1
  public var localRank = 0
  public var localSize = 1
  /// Started by `mpirun` (or another launcher that speaks PMIx).
  public var isInsideMPI = false

  public init() {}
}

/// The variables of cli.md 1.1 that a program reads, checked.
public struct LaunchEnvironment: Sendable {
  public let variables: [String: String]
  public let world: WorldInfo
  /// Slots per node when `NPROC_PER_NODE` or `NNODES` is set.
  public let processesPerNode: Int?
  public let nodes: Int
  public let nodeRank: Int
  /// Threads that read shards of a checkpoint (`MCORE_READER_MAX_WORKERS`).
  public let readerThreads: Int
  /// Draw one of several responses of a row, instead of the first (`RANDOM_DATASET_RESPONSE`).
  public let randomResponse: Bool
  /// Inference prints token ids (`SWIFT_DEBUG`).
  public let debugsTokens: Bool
  /// Repositories of a hub may be downloaded: in a program, not where options are only read.
  public var mayDownload = false
  let complaints: Complaints

  public init(_ variables: [String: String]) {
    self.variables = variables
    var complaints = Complaints()
    func number(_ name: String, least: Int = 0) -> Int? {
      guard let text = variables[name], !text.isEmpty else { return nil }
      guard let value = NumberSyntax.int(text), value >= least else {
        complaints.add(
          .badOptionValue, nil,
          "environment variable \(name): expected an int of at least \(least), got \"\(text)\"")
        return nil
      }
      return value
    }
    func flag(_ name: String, _ otherwise: Bool) -> Bool {
      guard let text = variables[name], !text.isEmpty else { return otherwise }
      guard let value = ValueReader.bool(text) else {
        complaints.add(
          .badOptionValue, nil,
          "environment variable \(name): expected true or false, got \"\(text)\"")
        return otherwise
      }
      return value
    }
    world = Self.world(variables, number)
    let perNode = number("NPROC_PER_NODE", least: 1)
    let nodes = number("NNODES", least: 1)
    processesPerNode = perNode ?? (nodes == nil ? nil : 1)
    self.nodes = nodes ?? 1
    nodeRank = number("NODE_RANK") ?? 0
    readerThreads = number("MCORE_READER_MAX_WORKERS", least: 1) ?? 16
    randomResponse = flag("RANDOM_DATASET_RESPONSE", true)
    debugsTokens = flag("SWIFT_DEBUG", false)
    Self.checkWorld(world, perNode: perNode, nodes: nodes, variables, &complaints)
    self.complaints = complaints
  }

  private static func world(
    _ variables: [String: String], _ number: (String, Int) -> Int?
  ) -> WorldInfo {
    var world = WorldInfo()
    if variables["OMPI_COMM_WORLD_SIZE"] != nil {
      world.isInsideMPI = true
      world.rank = number("OMPI_COMM_WORLD_RANK", 0) ?? 0
      world.size = number("OMPI_COMM_WORLD_SIZE", 1) ?? 1
      world.localRank = number("OMPI_COMM_WORLD_LOCAL_RANK", 0) ?? world.rank
      world.localSize = number("OMPI_COMM_WORLD_LOCAL_SIZE", 1) ?? world.size
    } else if variables["PMIX_RANK"] != nil {
      // srun --mpi=pmix: Slurm's own variables know the size.
      world.isInsideMPI = true
      world.rank = number("PMIX_RANK", 0) ?? 0
      world.size = number("SLURM_NTASKS", 1) ?? 1
      world.localRank = number("SLURM_LOCALID", 0) ?? world.rank
    }
    return world
  }

  /// The reference's own variables may not contradict what MPI says.
  private static func checkWorld(
    _ world: WorldInfo, perNode: Int?, nodes: Int?, _ variables: [String: String],
    _ complaints: inout Complaints
  ) {
    if world.isInsideMPI {
      if let perNode, (nodes ?? 1) == 1, perNode != world.size, world.localSize == world.size {
        complaints.add(
          .launchContradiction, nil,
          "NPROC_PER_NODE is \(perNode) but mpirun started \(world.size) ranks on this node; "
            + "unset it or start as many")
      }
    } else if perNode == nil, nodes == nil, let text = variables["WORLD_SIZE"],
      let size = NumberSyntax.int(text), size > 1
    {
      complaints.add(
        .launchContradiction, nil,
        "WORLD_SIZE is \(size) but this process is not in an MPI world; start the ranks with "
          + "mpirun -n \(size), or megatron sft with NPROC_PER_NODE=\(size)")
    }
  }
}
