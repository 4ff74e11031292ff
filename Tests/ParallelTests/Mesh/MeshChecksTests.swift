import Parallel
import Support
import Testing

@Suite("Checking a layout against a model")
struct MeshChecksTests {
  /// A model like Qwen3-30B-A3B.
  static let experts = ModelExtents(
    heads: 32, kvGroups: 4, vocabulary: 151_936, expertFeedForward: 768, experts: 128)
  /// A model like Qwen3-8B.
  static let dense = ModelExtents(
    heads: 32, kvGroups: 8, vocabulary: 151_936, feedForward: 12_288)

  @Test("a layout that works has no violation")
  func accepts() {
    let shape = MeshShape(tp: 2, ep: 8, sequenceParallel: true)
    #expect(MeshLayout.violations(world: 8, shape: shape, model: Self.experts).isEmpty)
    #expect(MeshLayout.refusal(world: 8, shape: shape, model: Self.experts) == nil)
    #expect(
      MeshLayout.violations(world: 16, shape: MeshShape(tp: 8), model: Self.dense).isEmpty)
  }

  @Test("all violations are told at once")
  func tellsAll() {
    let shape = MeshShape(tp: 5, cp: 2, pp: 2, ep: 3, etp: 7)
    let found = MeshLayout.violations(world: 8, shape: shape, model: Self.experts)
    let messages = found.map(\.message)
    for part in [
      "TP·CP·PP = 5·2·2", "ETP·EP·PP = 7·3·2", "pipeline_model_parallel_size above 1",
      "context_parallel_size above 1", "32 attention heads", "4 key/value heads",
      "151936 rows", "128 experts", "768 columns", "need sequence_parallel",
    ] {
      #expect(messages.contains { $0.contains(part) }, "\(part)")
    }
    #expect(found.count == 10)
  }

  @Test(
    "each rule is seen alone",
    arguments: [
      (4, MeshShape(tp: 2), "sequence_parallel"),
      (8, MeshShape(tp: 8, sequenceParallel: true), "tensor_model_parallel_size"),
      (3, MeshShape(ep: 3), "expert_model_parallel_size"),
      (5, MeshShape(etp: 5), "expert_tensor_parallel_size"),
      (2, MeshShape(pp: 2), "pipeline_model_parallel_size"),
      (2, MeshShape(cp: 2), "context_parallel_size"),
    ])
  func seesEachRule(world: Int, shape: MeshShape, flag: String) {
    let found = MeshLayout.violations(world: world, shape: shape, model: Self.experts)
    #expect(found.map(\.flag) == [flag])
  }

  @Test("expert sizes need experts")
  func needsExperts() {
    let found = MeshLayout.violations(
      world: 4, shape: MeshShape(ep: 2, etp: 2), model: Self.dense)
    #expect(
      found.map(\.flag) == ["expert_model_parallel_size", "expert_tensor_parallel_size"])
  }

  @Test("every proposed layout works", arguments: 1...24)
  func proposalsWork(world: Int) {
    for wish in [MeshShape(tp: 8, ep: 8), MeshShape(tp: 3, pp: 2, ep: 5, etp: 7)] {
      let proposed = MeshLayout.nearestLayouts(
        world: world, shape: wish, model: Self.experts, limit: 5)
      #expect(!proposed.isEmpty)
      for shape in proposed {
        #expect(
          MeshLayout.violations(world: world, shape: shape, model: Self.experts).isEmpty)
      }
    }
  }

  @Test("a layout that works is its own nearest")
  func nearestIsItself() {
    let wish = MeshShape(tp: 2, ep: 4, sequenceParallel: true)
    #expect(
      MeshLayout.nearestLayouts(world: 8, shape: wish, model: Self.experts, limit: 1) == [wish])
  }

  @Test("too many tensor parallel ranks lead to the largest that fits")
  func proposesLessTensorParallel() throws {
    let fault = try #require(
      MeshLayout.refusal(
        world: 8, shape: MeshShape(tp: 8, ep: 8, sequenceParallel: true), model: Self.experts))
    #expect(fault.code == .layoutRefused)
    #expect(fault.found == "TP 8 does not divide the 4 key/value heads")
    let fix = try #require(fault.fix)
    #expect(
      fix.hasPrefix(
        "use one of: --tensor_model_parallel_size 4 --expert_model_parallel_size 8 "
          + "--sequence_parallel true | "))
  }
}
