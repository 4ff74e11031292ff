import Support

/// This rank's place in the layout and its groups as communicators.
public final class ProcessMesh: Sendable {
  public let layout: MeshLayout
  public let world: any Communicator
  public let coordinates: MeshCoordinates
  /// One per case of `MeshGroup`, in order.
  private let groups: [any Communicator]

  /// Collective over `world`: all ranks must give the same shape.
  ///
  /// - Throws: LAYOUT-001 if the shape is no factorisation of the world; COMM-….
  /// - Communication: one split per kind of group.
  public init(world: any Communicator, shape: MeshShape) throws(Fault) {
    let layout = try MeshLayout(world: world.size, shape: shape)
    var groups: [any Communicator] = []
    for kind in MeshGroup.allCases {
      groups.append(try world.split(groups: layout.partition(kind), label: kind.name))
    }
    self.layout = layout
    self.world = world
    self.groups = groups
    coordinates = layout.coordinates(of: world.rank)
  }

  public var rank: Int { world.rank }
  public var shape: MeshShape { layout.shape }

  /// The group of a kind that this rank belongs to.
  public subscript(_ group: MeshGroup) -> any Communicator { groups[group.rawValue] }

  public var tp: any Communicator { self[.tp] }
  public var cp: any Communicator { self[.cp] }
  public var dp: any Communicator { self[.dp] }
  public var dpCP: any Communicator { self[.dpCP] }
  public var ep: any Communicator { self[.ep] }
  public var etp: any Communicator { self[.etp] }
  public var edp: any Communicator { self[.edp] }
}

extension ProcessMesh: CustomStringConvertible {
  /// One line for the log: the layout and where this rank stands in it.
  public var description: String {
    let axes = MeshAxis.allCases.filter { layout.size($0) > 1 }
    let place = axes.map { "\($0.rawValue) \(coordinates[$0])" }.joined(separator: ", ")
    return "\(layout); rank \(rank)" + (place.isEmpty ? "" : " at \(place)")
  }
}
