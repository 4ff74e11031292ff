import Support
import Tensor
import Testing

@testable import Parallel

/// A layout of a tensor-parallel group.
struct TensorLayout: Sendable, CustomTestStringConvertible {
  let tp: Int
  let sequenceParallel: Bool
  var testDescription: String { "tp \(tp)\(sequenceParallel ? " with sequence parallelism" : "")" }

  static let all = [
    TensorLayout(tp: 1, sequenceParallel: false), TensorLayout(tp: 2, sequenceParallel: false),
    TensorLayout(tp: 2, sequenceParallel: true), TensorLayout(tp: 4, sequenceParallel: false),
    TensorLayout(tp: 4, sequenceParallel: true),
  ]

  func setting(_ world: any Communicator, tokens: Int, on engine: Engine) throws -> Setting {
    let alone = SelfWorld(label: "self")
    return try Setting.test(
      tokens: tokens, on: engine, groups: ModelGroups(tp: world, ep: alone, etp: alone),
      sequenceParallel: sequenceParallel)
  }
}

/// Split linear layers and the split embedding, forward and backward, against stored runs.
@Suite("Parallel layers against stored runs")
struct LinearGoldenTests {
  private struct Part: Sendable {
    var y: [Float] = []
    var dx: [Float] = []
    var dw: [Float] = []
  }

  private struct Rig: Sendable {
    let tensors: GoldenTensors
    let i: Int
    let layout: TensorLayout
    let rows: Int
    let input: Int
    let output: Int

    init(_ i: Int, _ golden: GoldenCase, _ tensors: GoldenTensors, _ layout: TensorLayout) throws {
      self.tensors = tensors
      self.i = i
      self.layout = layout
      let isTable = try golden.text("kind") == "embedding"
      rows = try golden.int("s") * golden.int("b")
      input = try golden.int(isTable ? "vocab" : "in")
      output = try golden.int(isTable ? "hidden" : "out")
    }

    func stored(_ name: String) throws -> [Float] { try tensors.floats("\(i).\(name)") }
    var split: Placement { Placement(tp: .split(0)) }

    func run(_ body: @escaping @Sendable (Rig, any Communicator) throws -> Part) throws -> [Part] {
      try ThreadWorld.run(ranks: layout.tp) { try body(self, $0) }
    }

    func share(_ size: Int, _ rank: Int) -> Range<Int> {
      rank * (size / layout.tp)..<(rank + 1) * (size / layout.tp)
    }
    /// This rank's rows with sequence parallelism, else all.
    func ownRows(_ values: [Float], width: Int, _ rank: Int) -> [Float] {
      guard layout.sequenceParallel else { return values }
      let own = share(rows, rank)
      return Array(values[own.lowerBound * width..<own.upperBound * width])
    }
    func whole(_ parts: [[Float]]) -> [Float] {
      layout.sequenceParallel ? parts.flatMap { $0 } : parts[0]
    }
  }

  private func rigs(_ kind: String, _ layout: TensorLayout) throws -> [Rig] {
    let tensors = try Golden.tensors("parallel_linear")
    return try Golden.cases("parallel_linear").enumerated()
      .filter { try $1.text("kind") == kind }
      .map { try Rig($0, $1, tensors, layout) }
  }

  @Test(
    "Column-parallel linear: output, input gradient, weight gradient", arguments: TensorLayout.all)
  func column(layout: TensorLayout) throws {
    for rig in try rigs("column", layout) {
      let parts = try rig.run(Self.column)
      #expect(
        difference(
          beside(parts.map(\.y), width: rig.output / layout.tp), try rig.stored("y")) < 1e-5)
      #expect(difference(rig.whole(parts.map(\.dx)), try rig.stored("grad_x")) < 1e-5)
      #expect(difference(parts.flatMap(\.dw), try rig.stored("grad_weight")) < 1e-5)
      if !layout.sequenceParallel { #expect(parts.allSatisfy { $0.dx == parts[0].dx }) }
    }
  }

  private static func column(_ rig: Rig, _ world: any Communicator) throws -> Part {
    let engine = try Engine()
    let setting = try rig.layout.setting(world, tokens: rig.rows, on: engine)
    let tape = Tape()
    let context = Context(tape: tape, setting: setting)
    let own = rig.ownRows(try rig.stored("x"), width: rig.input, world.rank)
    let x = tape.leaf(
      try Tensor(own, [own.count / rig.input, rig.input], on: engine),
      rig.layout.sequenceParallel ? rig.split : .same)
    let weight = try Parameter.test(
      "w", .even([rig.output, rig.input], dim: 0, rank: world.rank, of: world.size),
      try rig.stored("weight"), on: engine)
    let layer = ColumnParallelLinear(
      weight: weight, outputChunks: CanonicalOrder.localChunks(rig.output, ranks: world.size))
    let y = try layer(
      rig.layout.sequenceParallel ? x : try context.enterRegion(x), in: context)
    #expect(y.placement.tp == .split(1))
    let dy = columns(
      try rig.stored("grad_y"), width: rig.output, rig.share(rig.output, world.rank))
    try tape.seed(y, with: try Tensor(dy, y.shape, on: engine))
    try tape.backward()
    return Part(
      y: y.tensor.values, dx: try #require(tape.gradient(of: x)).values,
      dw: weight.gradientValues)
  }

  @Test("Row-parallel linear: output, input gradient, weight gradient", arguments: TensorLayout.all)
  func row(layout: TensorLayout) throws {
    for rig in try rigs("row", layout) {
      let parts = try rig.run(Self.row)
      let width = rig.input / layout.tp
      #expect(difference(rig.whole(parts.map(\.y)), try rig.stored("y")) < 1e-5)
      #expect(difference(beside(parts.map(\.dx), width: width), try rig.stored("grad_x")) < 1e-5)
      #expect(
        difference(beside(parts.map(\.dw), width: width), try rig.stored("grad_weight")) < 1e-5)
      if !layout.sequenceParallel { #expect(parts.allSatisfy { $0.y == parts[0].y }) }
    }
  }

  private static func row(_ rig: Rig, _ world: any Communicator) throws -> Part {
    let engine = try Engine()
    let setting = try rig.layout.setting(world, tokens: rig.rows, on: engine)
    let tape = Tape()
    let own = rig.share(rig.input, world.rank)
    let x = tape.leaf(
      try Tensor(
        columns(try rig.stored("x"), width: rig.input, own), [rig.rows, own.count], on: engine),
      Placement(tp: .split(1)))
    let weight = try Parameter.test(
      "w", .even([rig.output, rig.input], dim: 1, rank: world.rank, of: world.size),
      try rig.stored("weight"), on: engine)
    let layer = RowParallelLinear(
      weight: weight, inputChunks: CanonicalOrder.localChunks(rig.input, ranks: world.size))
    let y = try layer(x, in: Context(tape: tape, setting: setting))
    #expect(y.placement.tp == (rig.layout.sequenceParallel ? .split(0) : .same))
    let dy = rig.ownRows(try rig.stored("grad_y"), width: rig.output, world.rank)
    try tape.seed(y, with: try Tensor(dy, y.shape, on: engine))
    try tape.backward()
    return Part(
      y: y.tensor.values, dx: try #require(tape.gradient(of: x)).values,
      dw: weight.gradientValues)
  }

  @Test("Vocabulary-parallel embedding: rows and weight gradient", arguments: TensorLayout.all)
  func embedding(layout: TensorLayout) throws {
    for rig in try rigs("embedding", layout) {
      let parts = try rig.run(Self.embedding)
      #expect(difference(rig.whole(parts.map(\.y)), try rig.stored("y")) < 1e-5)
      #expect(difference(parts.flatMap(\.dw), try rig.stored("grad_weight")) < 1e-5)
    }
  }

  private static func embedding(_ rig: Rig, _ world: any Communicator) throws -> Part {
    let engine = try Engine()
    let setting = try rig.layout.setting(world, tokens: rig.rows, on: engine)
    let tape = Tape()
    let weight = try Parameter.test(
      "w", .even([rig.input, rig.output], dim: 0, rank: world.rank, of: world.size),
      try rig.stored("weight"), on: engine)
    let layer = VocabParallelEmbedding(
      weight: weight, firstID: rig.share(rig.input, world.rank).lowerBound)
    let ids = try Tensor(try rig.tensors.int32("\(rig.i).x"), on: engine)
    let y = try layer(ids, in: Context(tape: tape, setting: setting))
    let dy = rig.ownRows(try rig.stored("grad_y"), width: rig.output, world.rank)
    try tape.seed(y, with: try Tensor(dy, y.shape, on: engine))
    try tape.backward()
    return Part(y: y.tensor.values, dw: weight.gradientValues)
  }
}
