import Foundation
import Parallel
import Support
import Testing

/// Layouts of Megatron core with all their groups (Fixtures/README.md).
struct GroupGolden: Sendable, CustomTestStringConvertible {
  let world: Int
  let shape: MeshShape
  let dp: Int
  let edp: Int
  let groups: [String: [[Int]]]
  let coordinates: [[Int]]

  var testDescription: String {
    "world \(world) tp \(shape.tp) cp \(shape.cp) pp \(shape.pp) ep \(shape.ep) etp \(shape.etp)"
  }

  init?(_ json: JSONValue) {
    func number(_ key: String) -> Int? { json[key]?.int }
    guard let world = number("world"), let tp = number("tp"), let cp = number("cp"),
      let pp = number("pp"), let ep = number("ep"), let etp = number("etp"),
      let dp = number("dp"), let edp = number("edp"), let groups = json["groups"]?.object,
      let coordinates = json["coords"]?.array
    else { return nil }
    self.world = world
    shape = MeshShape(tp: tp, cp: cp, pp: pp, ep: ep, etp: etp)
    self.dp = dp
    self.edp = edp
    self.groups = Dictionary(
      uniqueKeysWithValues: groups.members.map { ($0.key, Self.lists($0.value)) })
    self.coordinates = coordinates.map { ($0.array ?? []).compactMap(\.int) }
  }

  private static func lists(_ value: JSONValue) -> [[Int]] {
    (value.array ?? []).map { ($0.array ?? []).compactMap(\.int) }
  }

  static let all: [GroupGolden] = {
    let file = URL(filePath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Fixtures/groups.json")
    guard let text = try? String(contentsOf: file, encoding: .utf8),
      let json = try? JSONValue.parse(text)
    else { return [] }
    return (json["cases"]?.array ?? []).compactMap(GroupGolden.init)
  }()
}

@Suite("The layout of ranks")
struct MeshLayoutTests {
  @Test("the golden file has 27 layouts with all 15 kinds of groups")
  func goldensAreComplete() {
    #expect(GroupGolden.all.count == 27)
    let names = Set(MeshGroup.allCases.map(\.name))
    #expect(GroupGolden.all.allSatisfy { Set($0.groups.keys) == names })
  }

  @Test("groups are those of Megatron core", arguments: GroupGolden.all)
  func groupsAreMegatrons(golden: GroupGolden) throws {
    let layout = try MeshLayout(world: golden.world, shape: golden.shape)
    #expect(layout.dp == golden.dp)
    #expect(layout.edp == golden.edp)
    for kind in MeshGroup.allCases {
      let expected = try #require(golden.groups[kind.name])
      #expect(Set(layout.groups(kind)) == Set(expected), "\(kind.name)")
      #expect(layout.groups(kind).count == expected.count)
    }
  }

  @Test("coordinates are those of Megatron core", arguments: GroupGolden.all)
  func coordinatesAreMegatrons(golden: GroupGolden) throws {
    let layout = try MeshLayout(world: golden.world, shape: golden.shape)
    for rank in 0..<golden.world {
      let place = layout.coordinates(of: rank)
      let mine = [place.tp, place.cp, place.dp, place.pp, place.etp, place.ep, place.edp]
      #expect(mine == golden.coordinates[rank], "rank \(rank)")
    }
  }

  @Test("a partition holds every rank once", arguments: GroupGolden.all)
  func partitionsAreComplete(golden: GroupGolden) throws {
    let layout = try MeshLayout(world: golden.world, shape: golden.shape)
    for kind in MeshGroup.allCases {
      #expect(layout.partition(kind).joined().sorted() == Array(0..<golden.world))
    }
  }

  @Test("the log line names both factorisations")
  func describesItself() throws {
    let layout = try MeshLayout(
      world: 8, shape: MeshShape(tp: 2, ep: 8, sequenceParallel: true))
    #expect(
      "\(layout)" == "8 ranks: dense tp 2 × cp 1 × dp 4 × pp 1, "
        + "expert etp 1 × ep 8 × edp 1 × pp 1, sequence parallel")
  }

  @Test(
    "sizes that do not divide the world are refused",
    arguments: [
      (8, MeshShape(tp: 3)), (6, MeshShape(ep: 4)), (4, MeshShape(tp: 0)), (4, MeshShape(ep: -2)),
      (0, MeshShape()), (8, MeshShape(tp: 2, cp: 8)),
      (2, MeshShape(tp: 1 << 40, cp: 1 << 40)),
    ])
  func refusesBadSizes(world: Int, shape: MeshShape) {
    let fault = #expect(throws: Fault.self) { try MeshLayout(world: world, shape: shape) }
    #expect(fault?.code == .layoutRefused)
    #expect(fault?.code.exit.rawValue == 78)
  }
}
