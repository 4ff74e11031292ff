import Parallel
import Support
import Testing

@Suite("The mesh of a rank")
struct ProcessMeshTests {
  @Test(
    "every group sums over exactly its members",
    arguments: [
      (4, MeshShape(tp: 2, ep: 4)), (4, MeshShape(tp: 2, ep: 2, etp: 2)),
      (6, MeshShape(tp: 3, ep: 2)), (8, MeshShape(tp: 2, cp: 2, pp: 2, ep: 2, etp: 2)),
      (6, MeshShape(pp: 3)), (1, MeshShape()),
    ])
  func groupsAreRight(ranks: Int, shape: MeshShape) throws {
    let masks = try ThreadWorld.run(ranks: ranks) { world in
      let mesh = try ProcessMesh(world: world, shape: shape)
      return try MeshGroup.allCases.map { kind in
        var mask: [Int64] = [Int64(1) << Int64(world.rank)]
        try mask.withUnsafeMutableBufferPointer { try mesh[kind].allReduceSum($0) }
        return mask[0]
      }
    }
    let layout = try MeshLayout(world: ranks, shape: shape)
    for (index, kind) in MeshGroup.allCases.enumerated() {
      for members in layout.partition(kind) {
        let mask = members.reduce(Int64(0)) { $0 | Int64(1) << Int64($1) }
        for rank in members { #expect(masks[rank][index] == mask, "\(kind.name) rank \(rank)") }
      }
    }
  }

  @Test("a member's place in a group is the place of its rank in the list")
  func orderIsTheLists() throws {
    let shape = MeshShape(tp: 2, ep: 2)
    let places = try ThreadWorld.run(ranks: 8) { world in
      let mesh = try ProcessMesh(world: world, shape: shape)
      return [mesh.tp.rank, mesh.dp.rank, mesh.ep.rank, mesh.edp.rank]
    }
    for rank in 0..<8 { #expect(places[rank] == [rank % 2, rank / 2, rank % 2, rank / 2]) }
  }

  @Test("a planned rank has the same groups without peers")
  func planHasTheSameGroups() throws {
    let world = try PlanWorld(rank: 5, size: 8)
    let mesh = try ProcessMesh(world: world, shape: MeshShape(tp: 2, ep: 8))
    #expect([mesh.tp.size, mesh.dp.size, mesh.ep.size, mesh.edp.size] == [2, 4, 8, 1])
    #expect([mesh.tp.rank, mesh.dp.rank, mesh.ep.rank] == [1, 2, 5])
    #expect(mesh.tp.label == "tp")
    #expect("\(mesh)".hasSuffix("rank 5 at tp 1, dp 2, ep 5"))
  }

  @Test("a shape that does not divide the world is refused on every rank")
  func refuses() throws {
    let outcomes = try ThreadWorld.outcomes(ranks: 4) { world in
      try ProcessMesh(world: world, shape: MeshShape(tp: 3)).rank
    }
    for outcome in outcomes {
      #expect { try outcome.get() } throws: { ($0 as? Fault)?.code == .layoutRefused }
    }
  }
}
