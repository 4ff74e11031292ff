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
