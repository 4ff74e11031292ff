import Support
import Tensor
import Testing

@testable import Parallel

/// A choice as the reference stores it: one column per expert.
private struct DenseChoice {
  let tokens: Int
  let experts: Int
  var before: [Bool]  // [t, e] before the capacity
  var kept: [Bool]  // [t, e] chosen and kept
  var map: [Bool]  // [t, e] kept, and rows that fill up
  var gates: [Float]  // [t, e]

  init(_ choice: ExpertChoice, kept slots: [Bool], fill: [[Int]]) {
    experts = choice.expertCount
    tokens = choice.experts.count / choice.topK
    before = [Bool](repeating: false, count: tokens * experts)
    kept = before
    gates = [Float](repeating: 0, count: tokens * experts)
    for slot in slots.indices {
      let place = slot / choice.topK * experts + Int(choice.experts[slot])
      before[place] = true
      kept[place] = slots[slot]
      gates[place] = slots[slot] ? choice.gates[slot] : 0
    }
    map = kept
    for (expert, rows) in fill.enumerated() {
      for row in rows { map[row * experts + expert] = true }
    }
  }

  func perExpert(_ map: [Bool]) -> [Int] {
    (0..<experts).map { e in (0..<tokens).count { map[$0 * experts + e] } }
  }
}

@Suite("Choice of experts against stored routings")
struct ChoiceGoldenTests {
  private struct Outcome {
    let golden: GoldenCase
    let choice: DenseChoice
    let slots: [Bool]
    let gradient: [Float]
  }

  private func options(_ golden: GoldenCase) throws -> RouterOptions {
    var options = RouterOptions(experts: try golden.int("experts"), topK: try golden.int("topk"))
    options.score = try #require(RouterOptions.Score(rawValue: golden.text("score")))
    options.preSoftmax = try golden.flag("pre_softmax")
    options.scalingFactor = golden.optional("scaling").map(Float.init)
    options.capacityFactor = golden.optional("capacity_factor")
    options.padsToCapacity = try golden.flag("pad_to_capacity")
    options.dropPolicy = try #require(
      RouterOptions.DropPolicy(rawValue: golden.text("drop_policy")))
    return options
  }

  /// The choice of a stored case and the gradient of its logits.
  private func run(_ i: Int, _ golden: GoldenCase, _ tensors: GoldenTensors) throws -> Outcome {
    let options = try options(golden)
    let logits = try tensors.floats("\(i).logits")
    let bias = try golden.flag("expert_bias") ? tensors.floats("\(i).expert_bias") : nil
    let engine = try Engine()
    let choice = logits.withUnsafeBufferPointer {
      ExpertChoice(logits: $0, options: options, bias: bias, engine: engine)
    }
    var kept = [Bool](repeating: true, count: choice.experts.count)
    var fill = [[Int]](repeating: [], count: options.experts)
    if let factor = options.capacityFactor {
      let capacity = Capacity.limit(
        tokens: try golden.int("tokens"), topK: options.topK, experts: options.experts,
        factor: factor)
      #expect(capacity == (try golden.int("capacity")))
      (kept, fill) = Capacity.keep(
        experts: choice.experts, gates: choice.gates, options: options, capacity: capacity)
    }
    let dense = try tensors.floats("\(i).grad_gates")
    let dgates = kept.indices.map { slot in
      kept[slot] ? dense[slot / options.topK * options.experts + Int(choice.experts[slot])] : 0
    }
    var dz = [Float](repeating: 0, count: logits.count)
    logits.withUnsafeBufferPointer { z in
      dgates.withUnsafeBufferPointer { dg in
        dz.withUnsafeMutableBufferPointer {
          choice.addLogitGradient(of: dg, logits: z, options: options, engine: engine, into: $0)
        }
      }
    }
    return Outcome(
      golden: golden, choice: DenseChoice(choice, kept: kept, fill: fill), slots: kept,
      gradient: dz)
  }

  private func all() throws -> [(Int, Outcome, GoldenTensors)] {
    let tensors = try Golden.tensors("moe_routing")
    return try Golden.cases("moe_routing").enumerated().map {
      ($0, try run($0, $1, tensors), tensors)
    }
  }

  /// Among equal candidates (rows of gate 0, or all rows for `position`) the reference takes any.
  private func isTied(_ outcome: Outcome) -> Bool {
    outcome.golden.json["map_depends_on_tie_order"]?.bool ?? false
  }

  /// Which of the chosen rows the reference keeps is free.
  private func isFree(_ outcome: Outcome) -> Bool {
    isTied(outcome) && outcome.golden.json["drop_policy"]?.string == "position"
  }

  @Test("The chosen experts are the reference's, before and after the capacity")
  func maps() throws {
    for (i, outcome, tensors) in try all() {
      let choice = outcome.choice
      #expect(choice.before == (try tensors.bools("\(i).map_before_capacity")), "case \(i)")
      #expect(
        choice.perExpert(choice.before) == (try outcome.golden.ints("tokens_per_expert")),
        "case \(i)")
      #expect(
        choice.perExpert(choice.map) == (try outcome.golden.ints("kept_per_expert")), "case \(i)")
      if isTied(outcome) { continue }
      #expect(choice.map == (try tensors.bools("\(i).map")), "case \(i)")
      let lost = (0..<choice.tokens).count { row in
        !choice.map[row * choice.experts..<(row + 1) * choice.experts].contains(true)
      }
      #expect(lost == (try outcome.golden.int("lost_tokens")), "case \(i)")
    }
  }

  @Test("By position the lowest rows are kept")
  func lowestRows() throws {
    var compared = 0
    for (i, outcome, tensors) in try all()
    where try outcome.golden.text("drop_policy") == "position" {
      #expect(
        outcome.choice.kept == (try tensors.bools("\(i).map_lowest_rows_first")), "case \(i)")
      compared += 1
    }
    #expect(compared >= 5)
  }

  @Test("Gates are the reference's wherever both keep the row")
  func gates() throws {
    for (i, outcome, tensors) in try all() {
      let expected = try tensors.floats("\(i).gates")
      let places = expected.indices.filter {
        !isFree(outcome) || (outcome.choice.kept[$0] && expected[$0] != 0)
      }
      let error = difference(places.map { outcome.choice.gates[$0] }, places.map { expected[$0] })
      #expect(error < 1e-6, "case \(i)")
      #expect(!places.isEmpty, "case \(i)")
    }
  }

  @Test("Gradients of the logits are the reference's in rows that keep the same experts")
  func gradients() throws {
    var rows = 0
    for (i, outcome, tensors) in try all() {
      let expected = try tensors.floats("\(i).grad_logits")
      let theirs = try tensors.floats("\(i).gates").map { $0 != 0 }
      let e = outcome.choice.experts
      for row in 0..<outcome.choice.tokens {
        let range = row * e..<(row + 1) * e
        if isFree(outcome), outcome.choice.kept[range] != theirs[range] { continue }
        rows += 1
        #expect(
          difference(Array(outcome.gradient[range]), Array(expected[range])) < 1e-6,
          "case \(i) row \(row)")
      }
    }
    #expect(rows > 300)
  }

  @Test("Capacities are the reference's, also where the order of the product decides")
  func capacities() throws {
    for list in ["cases", "rounding_cases"] {
      for golden in try Golden.cases("moe_capacity", list: list) {
        let tokens = try golden.int("tokens")
        let limit = Capacity.limit(
          tokens: tokens, topK: try golden.int("topk"), experts: try golden.int("experts"),
          factor: try golden.double("factor"))
        // More rows than there are cannot be kept.
        #expect(limit == min(tokens, try golden.int("capacity")), "\(golden.json)")
      }
    }
  }
}
