import Support
import Tensor
import Testing

@testable import Parallel

/// Order of dispatched rows and sums of their copies, against stored permutations.
@Suite("Dispatch against stored permutations")
struct DispatchGoldenTests {
  /// A stored case, on one rank.
  private struct Rig {
    let golden: GoldenCase
    let tensors: GoldenTensors
    let i: Int
    let engine: Engine
    let setting: Setting
    let routing: Routing
    let choice: ExpertChoice

    init(_ i: Int, _ golden: GoldenCase, _ tensors: GoldenTensors) throws {
      self.golden = golden
      self.tensors = tensors
      self.i = i
      engine = try Engine()
      let t = try golden.int("tokens")
      let e = try golden.int("experts")
      let k = try golden.int("topk")
      let map = try tensors.bools("\(i).map")
      let gates = try tensors.floats("\(i).gates")
      var slots = [Int32](repeating: 0, count: t * k)
      var kept = [Bool](repeating: false, count: t * k)
      var fill = [[Int]](repeating: [], count: e)
      for row in 0..<t {
        var slot = row * k
        for expert in 0..<e where map[row * e + expert] {
          // A mapped row without a gate only fills its expert up.
          if gates[row * e + expert] == 0 {
            fill[expert].append(row)
          } else {
            (slots[slot], kept[slot]) = (Int32(expert), true)
            slot += 1
          }
        }
      }
      choice = ExpertChoice(
        experts: slots,
        gates: slots.indices.map { kept[$0] ? gates[$0 / k * e + Int(slots[$0])] : 0 },
        topK: k, expertCount: e)
      setting = try Setting.test(tokens: t, on: engine)
      routing = try Routing(choice: choice, kept: kept, fill: fill, setting: setting)
    }

    var dispatcher: TokenDispatcher { TokenDispatcher(routing, groups: setting.groups) }
    func tensor(_ name: String, rows: Int) throws -> Tensor {
      let values = try tensors.floats("\(i).\(name)")
      return try Tensor(values, [rows, values.count / rows], on: engine)
    }
  }

  private func rigs() throws -> [Rig] {
    let tensors = try Golden.tensors("moe_permute")
    return try Golden.cases("moe_permute").enumerated().map { try Rig($0, $1, tensors) }
  }

  @Test("Rows leave by expert and then by row, with their gates")
  func order() throws {
    for rig in try rigs() {
      let t = try rig.golden.int("tokens")
      let tape = Tape()
      let x = tape.leaf(try rig.tensor("x", rows: t))
      let rows = try rig.dispatcher.dispatch(x, on: tape)
      #expect(rig.routing.sentRows.map(Int.init) == (try rig.golden.ints("source_row")))
      #expect(rows.tensor.values == (try rig.tensors.floats("\(rig.i).permuted")))
      let slots = tape.leaf(try Tensor(rig.choice.gates, [t, rig.choice.topK], on: rig.engine))
      let gates = try rig.dispatcher.dispatch(gates: slots, on: tape)
      #expect(gates.tensor.values == (try rig.tensors.floats("\(rig.i).permuted_gates")))
    }
  }

  @Test("The gradient of dispatched rows is the sum over the copies of each row")
  func dispatchGradient() throws {
    for rig in try rigs() {
      let tape = Tape()
      let x = tape.leaf(try rig.tensor("x", rows: try rig.golden.int("tokens")))
      let rows = try rig.dispatcher.dispatch(x, on: tape)
      try tape.seed(
        rows, with: try rig.tensor("grad_permuted", rows: try rig.golden.int("rows_out")))
      try tape.backward()
      let dx = try #require(tape.gradient(of: x)).values
      #expect(difference(dx, try expected(rig, width: x.tensor.rowSize)) < 1e-6, "case \(rig.i)")
    }
  }

  /// Rows that only fill an expert up have a gate of 0 and so a gradient of 0; the stored one
  /// counts whatever is put in for them.
  private func expected(_ rig: Rig, width h: Int) throws -> [Float] {
    var dx = try rig.tensors.floats("\(rig.i).grad_x")
    let rows = try rig.tensors.floats("\(rig.i).grad_permuted")
    for (i, slot) in rig.routing.sentSlots.enumerated() where slot < 0 {
      for c in 0..<h { dx[Int(rig.routing.sentRows[i]) * h + c] -= rows[i * h + c] }
    }
    return dx
  }

  @Test("Combined rows are the sums of their weighted copies, forward and backward")
  func combine() throws {
    for rig in try rigs() {
      let t = try rig.golden.int("tokens")
      let k = rig.choice.topK
      let out = try rig.tensor("expert_out", rows: try rig.golden.int("rows_out"))
      let p = try rig.tensors.floats("\(rig.i).permuted_gates")
      let h = out.rowSize
      let weighted = out.values.enumerated().map { $1 * p[$0 / h] }
      let tape = Tape()
      let x = try rig.tensor("x", rows: t)
      let rows = tape.leaf(try Tensor(weighted, out.shape, on: rig.engine))
      let slots = tape.leaf(try Tensor(rig.choice.gates, [t, k], on: rig.engine))
      let gates = try rig.dispatcher.dispatch(gates: slots, on: tape)
      let y = try rig.dispatcher.combine(rows, like: Value(x), on: tape)
      #expect(difference(y.tensor.values, try rig.tensors.floats("\(rig.i).combined")) < 1e-6)

      let d = try rig.tensors.floats("\(rig.i).grad_combined")
      try tape.seed(y, with: try Tensor(d, y.shape, on: rig.engine))
      // The expert multiplies by the gate: its gradient is that of the weighted row, times the row.
      let source = rig.routing.sentRows.map(Int.init)
      let values = out.values
      let dp = source.indices.map { i in
        (0..<h).reduce(Float(0)) { $0 + values[i * h + $1] * d[source[i] * h + $1] }
      }
      try tape.seed(gates, with: try Tensor(dp, [dp.count], on: rig.engine))
      try tape.backward()
      let dw = try #require(tape.gradient(of: rows)).values
      #expect(
        difference(
          dw.enumerated().map { $1 * p[$0 / h] },
          try rig.tensors.floats("\(rig.i).grad_expert_out")) < 1e-6)
      try expectGateGradient(try #require(tape.gradient(of: slots)).values, rig)
    }
  }

  private func expectGateGradient(_ slots: [Float], _ rig: Rig) throws {
    let dense = try rig.tensors.floats("\(rig.i).grad_gates")
    let e = rig.choice.expertCount
    for slot in slots.indices where rig.routing.kept[slot] {
      let expected = dense[slot / rig.choice.topK * e + Int(rig.choice.experts[slot])]
      #expect(difference([slots[slot]], [expected]) < 1e-6, "case \(rig.i) slot \(slot)")
    }
  }

  @Test("Received runs are ordered by own expert and then by source")
  func chunks() throws {
    for golden in try Golden.cases("moe_permute", list: "chunk_sorts") {
      let sizes = try golden.ints("sizes")
      let own = sizes.count / 2
      let rows = try ThreadWorld.run(ranks: 2) { world in
        let engine = try Engine()
        let alone = SelfWorld(label: "self")
        let setting = try Setting.test(
          tokens: 1, on: engine, groups: ModelGroups(tp: alone, ep: world, etp: alone))
        // Rows for the experts of rank 0 only.
        let mine = sizes[world.rank * own..<(world.rank + 1) * own]
        let counts = try ExpertCounts(mine + [Int](repeating: 0, count: own), setting: setting)
        return counts.expertRows().0.map(Int.init)
      }
      #expect(rows[0] == (try golden.ints("source_row")))
      #expect(rows[1].isEmpty)
    }
  }
}
