import Support
import Tensor
import Testing

@testable import Parallel

/// The loss layer on stored logits: with the identity as its weight its input is the logits, and
/// the gradient of its input that of the logits.
@Suite("Cross-entropy against stored runs")
struct CrossEntropyGoldenTests {
  private struct Rig: Sendable {
    let tensors: GoldenTensors
    let i: Int
    let layout: TensorLayout
    let rows: Int
    let vocabulary: Int
    let labels: [Int32]
    let dtype: DType
    /// Relative size of one rounding of the stored gradient.
    let step: Float

    init(_ i: Int, _ golden: GoldenCase, _ tensors: GoldenTensors, _ layout: TensorLayout) throws {
      self.tensors = tensors
      self.i = i
      self.layout = layout
      rows = try golden.int("s") * golden.int("b")
      vocabulary = try golden.int("vocab")
      labels = try #require(golden.json["labels"]?.array).flatMap { row in
        (row.array ?? []).compactMap(\.int).map(Int32.init)
      }
      // Logits of fp16 are computed with in fp32, which holds them exactly.
      dtype = try golden.text("dtype") == "bf16" ? .bfloat16 : .float32
      step = ["fp32": 0, "bf16": 0x1p-8, "fp16": 0x1p-11][try golden.text("dtype")] ?? 0
    }

    /// - Returns: the loss of each token, and the gradient of the logits.
    func run(weights: [Float]?) throws -> (losses: [Float], gradient: [Float]) {
      let parts = try ThreadWorld.run(ranks: layout.tp) { try rank($0, weights) }
      for part in parts { #expect(part.0 == parts[0].0, "ranks disagree on the losses") }
      return (parts[0].0, layout.sequenceParallel ? parts.flatMap(\.1) : parts[0].1)
    }

    /// Trained rows whose label has the largest logit, in the type of the test.
    func rightTokens(on engine: Engine) throws -> Int {
      let logits = try Tensor(
        try tensors.floats("\(i).logits"), [rows, vocabulary], dtype, on: engine
      ).values
      return labels.indices.count { row in
        let z = logits[row * vocabulary..<(row + 1) * vocabulary]
        return labels[row] != -100 && z[z.startIndex + Int(labels[row])] == z.max()
      }
    }

    private func rank(_ world: any Communicator, _ weights: [Float]?) throws -> ([Float], [Float]) {
      let engine = try Engine()
      let v = vocabulary
      let setting = try layout.setting(world, tokens: rows, on: engine)
      let tape = Tape()
      let context = Context(tape: tape, setting: setting)
      let own = setting.ownRows
      let logits = try tensors.floats("\(i).logits")[own.lowerBound * v..<own.upperBound * v]
      let x = tape.leaf(
        try Tensor(Array(logits), [own.count, v], dtype, on: engine),
        layout.sequenceParallel ? Placement(tp: .split(0)) : .same)
      let identity = (0..<v * v).map { Float($0 / v == $0 % v ? 1 : 0) }
      let weight = try Parameter.test(
        "w", .even([v, v], dim: 0, rank: world.rank, of: world.size), identity, dtype: dtype,
        on: engine)
      let layer = VocabParallelCrossEntropy(
        weight: weight, firstID: world.rank * v / world.size,
        vocabularyChunks: CanonicalOrder.localChunks(v, ranks: world.size))
      let result = try layer(
        layout.sequenceParallel ? x : try context.enterRegion(x),
        .init(shifted: labels, weights: weights), in: context)
      #expect(result.trainedTokens == labels.count { $0 != -100 })
      #expect(result.rightTokens == (try rightTokens(on: engine)))
      try tape.seed(result.loss, with: try Tensor([1], [1], on: engine))
      try tape.backward()
      return (result.perToken, tape.gradient(of: x)?.values ?? [])
    }
  }

  private func rigs(_ layout: TensorLayout) throws -> [Rig] {
    let tensors = try Golden.tensors("cross_entropy")
    return try Golden.cases("cross_entropy").enumerated()
      .map { try Rig($0, $1, tensors, layout) }
      .filter { !layout.sequenceParallel || $0.rows % layout.tp == 0 }
  }

  @Test("Losses of trained tokens are the reference's, others 0", arguments: TensorLayout.all)
  func losses(layout: TensorLayout) throws {
    for rig in try rigs(layout) {
      let losses = try rig.run(weights: nil).losses
      let stored = try rig.tensors.floats("\(rig.i).loss")
      let expected = stored.indices.map { rig.labels[$0] == -100 ? 0 : stored[$0] }
      #expect(difference(losses, expected) < 1e-5, "case \(rig.i)")
    }
  }

  @Test("Gradients of the logits are the reference's, 0 for others", arguments: TensorLayout.all)
  func gradients(layout: TensorLayout) throws {
    for rig in try rigs(layout) {
      let seeds = try rig.tensors.floats("\(rig.i).grad_loss")
      let gradient = try rig.run(weights: seeds).gradient
      let expected = try rig.tensors.floats("\(rig.i).grad_logits")
      #expect(gradient.count == expected.count)
      for (j, (a, b)) in zip(gradient, expected).enumerated() {
        if rig.labels[j / rig.vocabulary] == -100 {
          #expect(a == 0, "case \(rig.i) element \(j)")
        } else {
          #expect(abs(a - b) <= 1e-6 + rig.step * abs(b), "case \(rig.i) element \(j): \(a) \(b)")
        }
      }
    }
  }
}
