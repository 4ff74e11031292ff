import Support
import Tensor
import Testing

@testable import Parallel

/// Whole expert layers on 1, 2 and 4 ranks, over tensor, expert and expert-tensor parallelism.
@Suite("Expert layers against stored runs", .timeLimit(.minutes(2)))
struct ExpertLayerGoldenTests {
  /// A rank's part of a layout sees other rows than the whole micro-batch, so with a capacity or an
  /// auxiliary loss the reference's results depend on tp; `byChosenRule` names those that do not.
  private func expectValues(_ rig: ExpertRig, _ parts: [ExpertRig.Part], byChosenRule: Bool) throws
  {
    let stored =
      byChosenRule && rig.golden.has("values_by_chosen_rule")
      ? try rig.golden.text("values_by_chosen_rule") : try rig.golden.text("values")
    func expect(_ values: [Float], _ name: String) throws {
      let error = difference(values, try rig.tensors.floats("\(stored).\(name)"))
      #expect(error < 1e-5, "\(rig.testDescription): \(name)")
    }
    try expect(parts.rows { $0.y }, "y")
    try expect(parts.rows { $0.dx }, "grad_x")
    try expect(parts.routerGradient(), "grad_router")
    try expect(parts.expertGradient(rig) { $0.fc1 }, "grad_fc1")
    try expect(parts.expertGradient(rig) { $0.fc2 }, "grad_fc2")
  }

  @Test(
    "Outputs and all gradients are the reference's in every layout",
    arguments: ["plain", "top1", "starved", "drop", "pad", "aux"])
  func values(name: String) throws {
    let rigs = try ExpertRig.all().filter { $0.name == name }
    #expect(rigs.count >= 4)
    for rig in rigs { try expectValues(rig, try rig.run(), byChosenRule: true) }
  }

  @Test(
    "With the capacity counted per rank, outputs and gradients are the reference's under tp too")
  func capacityPerRank() throws {
    let rigs = try ExpertRig.all().filter(\.hasCapacity)
    #expect(rigs.contains { $0.shape.tp > 1 })
    for var rig in rigs {
      rig.scope = .rank
      try expectValues(rig, try rig.run(), byChosenRule: false)
    }
  }

  /// Where experts lie over ep and are split over etp too, the reference takes the rows of one etp
  /// place after the other. Here rank comes first, which is the order of the tokens.
  private func byRank(_ rows: [Int], _ counts: [Int]) -> [[Int]] {
    var rest = rows[...]
    return counts.map { count in
      defer { rest = rest.dropFirst(count) }
      return rest.prefix(count).sorted()
    }
  }

  @Test("Every expert gets the reference's rows, by source rank and then by row")
  func rowOrder() throws {
    for var rig in try ExpertRig.all() {
      rig.scope = .rank
      let parts = try rig.run()
      let ranks = try #require(rig.golden.json["ranks"]?.array).map { GoldenCase(json: $0) }
      for (part, rank) in zip(parts, ranks) {
        let place = part.place
        let stored = try ["dp", "tp", "ep", "etp"].map { try rank.int($0) }
        #expect([place.dp, place.tp, place.ep, place.etp] == stored)
        let counts = try rank.ints("tokens_per_local_expert")
        #expect(part.expertRows.map(\.count) == counts, "\(rig.testDescription)")
        // Which rows fill an expert up is free: they have no gate.
        if rig.pads { continue }
        let rows = byRank(try rank.ints("expert_input_rows"), counts)
        #expect(part.expertRows == rows, "\(rig.testDescription)")
      }
    }
  }

  @Test("Tensor-parallel peers end with the same router gradient")
  func routerPeers() throws {
    for rig in try ExpertRig.all() where rig.shape.tp > 1 {
      let parts = try rig.run()
      for part in parts {
        let peer = try #require(parts.first { $0.place.dp == part.place.dp && $0.place.tp == 0 })
        #expect(part.router == peer.router, "\(rig.testDescription)")
      }
    }
  }

  @Test("In lanes the gradient of each source has the bits of its rows alone")
  func lanes() throws {
    let rig = try #require(
      try ExpertRig.all().first { $0.name == "plain" && $0.shape.ep == 2 && $0.world == 2 })
    #expect(rig.shape.tp == 1)
    var split = rig
    split.lanes = [0, 1]
    let parts = try split.run()
    for source in 0..<2 {
      var alone = rig
      (alone.world, alone.shape, alone.firstReplica) = (1, MeshShape(), source)
      let one = try #require(try alone.run().first)
      let own = rig.experts / 2
      for part in parts {
        for e in 0..<own {
          let global = part.place.ep * own + e
          #expect(part.laneGradients[e][source] == one.fc1[global], "expert \(global)")
          #expect(part.laneGradients[own + e][source] == one.fc2[global], "expert \(global)")
        }
      }
    }
  }
}
