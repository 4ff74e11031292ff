import Parallel
import Tensor
import Testing

@testable import Model

/// What a backward pass says about itself (`BackwardWatch`).
struct Told: Equatable, Sendable {
  /// Parts in the order in which they were complete.
  var parts: [Int] = []
  /// Weights whose gradient changed after their part was complete.
  var late: [String] = []
}

/// Keeps what the gradients were when they were said to be complete.
final class RecordingWatch: BackwardWatch, @unchecked Sendable {
  private let weights: [(parameter: Parameter, part: Int)]
  private var complete: [String: [Float]] = [:]
  private var parts: [Int] = []

  init(_ model: QwenModel) {
    weights = model.parameters.filter(\.isTrainable).map { ($0, model.forwardPart(of: $0)) }
  }

  func gradientsAreComplete(from part: Int) {
    parts.append(part)
    for weight in weights where weight.part >= part && complete[weight.parameter.name] == nil {
      complete[weight.parameter.name] = weight.parameter.gradient?.values
    }
  }

  func told() -> Told {
    let late = weights.filter { weight in
      complete[weight.parameter.name].map { $0 != weight.parameter.gradient?.values } ?? false
    }
    return Told(parts: parts, late: late.map(\.parameter.name))
  }
}

@Suite struct ForwardPartTests {
  private func check(_ rig: LayoutRig, ranks: Int = 1, parts: [Int]) throws {
    var watched = rig
    watched.watches = true
    let plain = try rig.run(ranks: ranks, sequenceParallel: ranks > 1)
    let outcome = try watched.run(ranks: ranks, sequenceParallel: ranks > 1)
    #expect(outcome.told == Told(parts: parts))
    #expect(outcome.gradients == plain.gradients && outcome.loss == plain.loss)
    #expect(outcome.savedBytes == plain.savedBytes)
  }

  @Test("Parts are complete from the last to the first layer, and nothing is added afterwards")
  func order() throws {
    for tied in [false, true] {
      try check(LayoutRig(layers: 3, tied: tied), parts: [4, 3, 2, 1])
    }
    try check(LayoutRig(layers: 3, experts: 4), ranks: 2, parts: [4, 3, 2, 1])
  }

  @Test("Layers that are recomputed together are still told one by one")
  func recomputed() throws {
    var rig = LayoutRig(layers: 3)
    for plan in [
      RecomputePlan(method: .uniform(layers: 2)), RecomputePlan(method: .block(layers: 1)),
    ] {
      rig.plan = plan
      try check(rig, parts: [4, 3, 2, 1])
    }
  }

  @Test("Where no gradient flows, nobody is told, and the rest is told as ever")
  func frozen() throws {
    var rig = LayoutRig(layers: 3)
    rig.frozen = { $0.contains("embedding") || $0.contains("layers.0.") }
    try check(rig, parts: [4, 3])
  }

  @Test("A trained tower is part of the embedding: complete only at the end")
  func tower() throws {
    var rig = LayoutRig(layers: 2, tokens: [40, 9])
    rig.pictures = [[PatchGrid(t: 1, h: 4, w: 4)], []]
    let config = try rig.config()
    try check(rig, parts: (1...config.layerCount + 1).reversed())
    let model = try QwenModel(
      config, layout: ModelLayout(), dtype: .float32, router: nil, on: try Engine())
    for p in model.vision?.parameters ?? [] { #expect(model.forwardPart(of: p) == 0) }
  }
}
