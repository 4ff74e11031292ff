import Support
import Tensor
import Testing

@testable import Optim

@Suite struct ParameterGroupTests {
  @Test("Biases and vectors are not decayed: the groups of seven models are the reference's")
  func storedGroups() throws {
    let engine = Engine(planning: ())
    let models = try Reference.json("parameters", in: Reference.fixtures)["models"]
    let stored = try #require(Reference.json("optimizer")["parameter_groups"]?.array)
    #expect(stored.count == 7)
    for row in stored {
      let model = try #require(row["model"]?.string)
      let list = try #require(models?[model]?.array)
      let parameters = try list.map { entry -> OptimizedParameter in
        let name = try #require(entry.array?.first?.string)
        let shape = try #require(entry.array?.last?.array).compactMap(\.int)
        return OptimizedParameter(
          try Parameter(
            name, .whole(shape), .float32, role: .init(isExpert: name.contains(".experts.")),
            on: engine))
      }
      var found: [String: [String]] = [:]
      for group in ParameterGroup.groups(of: parameters) {
        let key = (group.isExpert ? "expert_" : "") + (group.decays ? "decay" : "no_decay")
        found[key, default: []] += group.names
      }
      for key in ["decay", "no_decay", "expert_decay"] {
        #expect((found[key] ?? []).sorted() == row[key]?.array?.compactMap(\.string), "\(model)")
      }
      #expect(found["expert_no_decay"] == nil)
    }
  }

  @Test("Replicated weights are counted on place 0 of their own axis, frozen ones not at all")
  func counting() throws {
    let engine = Engine(planning: ())
    func make(_ name: String, expert: Bool, replicated: Bool) throws -> Parameter {
      try Parameter(
        name, .whole([4, 4]), .float32,
        role: .init(isExpert: expert, isReplicated: replicated), on: engine)
    }
    let frozen = try make("frozen", expert: false, replicated: false)
    frozen.isTrainable = false
    let all = [
      try make("split", expert: false, replicated: false),
      try make("norm", expert: false, replicated: true),
      try make("expert", expert: true, replicated: true), frozen,
    ]
    func counted(_ tensor: Int, _ expert: Int) -> [Bool] {
      OptimizedParameter.trainable(all, tensorRank: tensor, expertTensorRank: expert)
        .map(\.countsInNorm)
    }
    #expect(counted(0, 0) == [true, true, true])
    #expect(counted(1, 0) == [true, false, true])
    #expect(counted(0, 1) == [true, true, false])
  }
}
