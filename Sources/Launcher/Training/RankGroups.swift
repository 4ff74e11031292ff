import Model
import Parallel
import Support

/// The groups of this rank that training talks to, and its place in the layout.
struct RankGroups: Sendable {
  let world: any Communicator
  let tp: any Communicator
  /// Data-parallel peers of the dense weights.
  let dp: any Communicator
  let ep: any Communicator
  let etp: any Communicator
  /// Data-parallel peers of the expert weights.
  let edp: any Communicator
  /// Lane of each rank of the expert-parallel group: its data-parallel index among those of the group.
  let expertLanes: [Int]

  init(_ mesh: ProcessMesh) {
    world = mesh.world
    tp = mesh.tp
    dp = mesh.dpCP
    ep = mesh.ep
    etp = mesh.etp
    edp = mesh.edp
    let peers = mesh.layout.groups(.ep).first { $0.contains(mesh.rank) } ?? [mesh.rank]
    let places = peers.map { mesh.layout.coordinates(of: $0).dp }
    let distinct = Array(Set(places)).sorted()
    expertLanes = places.map { distinct.firstIndex(of: $0) ?? 0 }
  }

  /// Sources whose rows meet in one expert of this rank; 1 when experts are split themselves, where
  /// sums of sources are not kept apart.
  func laneCount(canonicalChunks: Int) -> Int {
    guard canonicalChunks > 1, etp.size == 1 else { return 1 }
    let count = (expertLanes.max() ?? 0) + 1
    return count & (count - 1) == 0 ? count : 1
  }

  var model: ModelGroups { ModelGroups(tp: tp, ep: ep, etp: etp) }

  var layout: ModelLayout {
    var layout = ModelLayout()
    layout.tp = (tp.rank, tp.size)
    layout.ep = (ep.rank, ep.size)
    layout.etp = (etp.rank, etp.size)
    return layout
  }

  var isFirst: Bool { world.rank == 0 }
}

extension MeshShape {
  init(_ flags: ParallelFlags) {
    self.init(
      tp: flags.tensor, cp: flags.context, pp: flags.pipeline, ep: flags.expert,
      etp: flags.expertTensor, sequenceParallel: flags.sequenceParallel && flags.tensor > 1)
  }
}

extension ModelExtents {
  init(_ config: QwenConfig) {
    self.init(
      heads: config.headCount, kvGroups: config.groupCount, vocabulary: config.vocabularySize,
      feedForward: config.sparseLayers.count == config.layerCount ? nil : config.intermediateSize,
      expertFeedForward: config.experts?.intermediateSize, experts: config.experts?.count)
  }
}

extension RankGroups {
  /// The mesh of a job, after all that does not fit was refused at once.
  /// - Throws: `LAYOUT-001` with every reason and the nearest layouts that work.
  static func make(_ world: any Communicator, _ shape: MeshShape, _ config: QwenConfig)
    throws(Fault) -> (ProcessMesh, RankGroups)
  {
    if let refusal = MeshLayout.refusal(
      world: world.size, shape: shape, model: ModelExtents(config))
    {
      throw refusal
    }
    let mesh = try ProcessMesh(world: world, shape: shape)
    return (mesh, RankGroups(mesh))
  }
}
