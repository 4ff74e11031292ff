import DataPipeline
import Foundation
import Model
import Parallel
import Support
import Tensor

/// `packed`, `packed.grads`: one packed row forward and backward.
struct PackedParity {
  let rig: ParityRig
  let bounds: ParityBounds
  let golden: GoldenTensors
  /// Choices of experts to take over.
  var replay: RoutingReplay?

  static func batch(_ golden: GoldenTensors, prefix: String = "") throws(Fault) -> PackedBatch {
    let ids = try golden.int32(prefix + "input_ids")
    let starts = try golden.int32(prefix + "cu_seqlens")
    return PackedBatch(
      inputIDs: ids, labels: try golden.int32(prefix + "labels"), lossScale: nil,
      positions: try golden.int32(prefix + "text_position_ids"), cuSeqlens: starts,
      channels: [String?](repeating: nil, count: starts.count - 1), sampleCount: starts.count - 1)
  }

  /// - Returns: what was computed, under the golden's names.
  func run(_ report: inout ParityReport, grads: GoldenTensors?) throws(Fault) -> ParityOutput {
    let row = try rig.row(golden)
    var output = try forward(row, backward: true)
    if replay != nil {
      try PackedParity(rig: rig, bounds: bounds, golden: golden)
        .ownChoices(row, &report, into: &output)
    }
    try compare(output, golden, "packed", &report)
    if let grads { try gradients(grads, &report, &output) }
    return output
  }

  /// `packed.bf16`: the same row through a model in bf16.
  func run(_ report: inout ParityReport, bf16: GoldenTensors) throws(Fault) {
    let output = try forward(try rig.row(golden), backward: false)
    try compare(output, bf16, "packed.bf16", &report)
  }

  private func forward(_ row: ModelRow, backward: Bool) throws(Fault) -> ParityOutput {
    let probe = Probe()
    var seeds = LossSeeds()
    seeds.token = 1 / Float(max(1, row.trainedTokens))
    let setting = rig.setting(row, seeds: seeds, probe: probe, replay: replay)
    if backward { try rig.attachGradients() }
    let tape = Tape(recording: backward)
    let context = Context(tape: tape, setting: setting)
    let result = try rig.model.loss(row.input, plan: RecomputePlan(), in: context)
    if backward {
      try tape.seed(result.loss, with: try Tensor([1], [1], on: rig.engine))
      try tape.backward()
    }
    var output = ParityOutput()
    try activations(probe, tape, row, into: &output)
    try routing(probe, row, into: &output)
    try heads(row, probe, into: &output)
    try VisionParity(rig: rig, golden: golden).run(row, into: &output)
    output["token_nll"] = Array(result.perToken.prefix(row.realTokens))
    output["logits"] = try logits(row)
    return output
  }

  private func logits(_ row: ModelRow, probe: Probe? = nil) throws(Fault) -> [Float] {
    let plain = Context(
      tape: Tape(recording: false),
      setting: rig.setting(
        row, seeds: LossSeeds(), probe: probe, training: false, replay: replay))
    let logits = try rig.model.logits(row.input, in: plain)
    return Array(logits.values.prefix(row.realTokens * rig.config.vocabularySize))
  }

  /// What the model does when its routers choose: the choices replace those taken over.
  private func ownChoices(
    _ row: ModelRow, _ report: inout ParityReport, into output: inout ParityOutput
  ) throws(Fault) {
    let probe = Probe()
    let logits = try logits(row, probe: probe)
    var own = ParityOutput()
    try routing(probe, row, into: &own)
    for (name, values) in own.values where name.hasSuffix(".topk_index") { output[name] = values }
    report.compare(
      "packed", "logits, own choices", logits, try golden.floats("logits"), bounds.ownChoices)
  }

  private func activations(
    _ probe: Probe, _ tape: Tape, _ row: ModelRow, into output: inout ParityOutput
  ) throws(Fault) {
    for (name, value) in probe.values.sorted(by: { $0.key < $1.key })
    where !name.hasSuffix(".qkv") && !name.hasPrefix("vit.") {
      output[name] = try rig.whole(
        value.tensor, placement: value.placement, rows: row.realTokens)
      if name.hasPrefix("hidden."), let gradient = tape.watchedGradient(of: value) {
        output["d" + name] = try rig.whole(
          gradient, placement: value.placement, rows: row.realTokens)
      }
    }
    let angles = try rig.model.text.rotaryAngles(row.input, on: rig.engine)
    let half = rig.config.headSize / 2
    for (name, table) in [("rope_cos", angles.cos), ("rope_sin", angles.sin)] {
      let values = table.values
      output[name] = (0..<row.realTokens).flatMap { t in
        let part = values[t * half..<(t + 1) * half]
        return part + part
      }
    }
  }

  private func routing(_ probe: Probe, _ row: ModelRow, into output: inout ParityOutput)
    throws(Fault)
  {
    for (name, record) in probe.routings.sorted(by: { $0.key < $1.key }) {
      output[name + ".logits"] = try rig.whole(
        record.logits, placement: Placement(tp: rig.sequenceParallel ? .split(0) : .same),
        rows: row.realTokens)
      output[name + ".topk_index"] = try rig.whole(record, row) {
        Float(record.choice.experts[$0])
      }
      output[name + ".topk_weight"] = try rig.whole(record, row) { record.choice.gates[$0] }
    }
  }

  /// Queries and keys after their norm and before the rotation.
  private func heads(_ row: ModelRow, _ probe: Probe, into output: inout ParityOutput)
    throws(Fault)
  {
    let config = rig.config
    let d = config.headSize
    for layer in 0..<config.layerCount {
      guard let fused = probe.values["layer.\(layer).qkv"]?.tensor else { continue }
      let whole = try rig.groups.tp.gatherColumns(fused).values
      let prefix = config.textPrefix + "decoder.layers.\(layer).self_attention."
      func weight(_ name: String) -> [Float] {
        rig.model.parameters.first { $0.name == prefix + name }?.tensor.values ?? []
      }
      let (wq, wk) = (weight("q_layernorm.weight"), weight("k_layernorm.weight"))
      var queries: [Float] = []
      var keys: [Float] = []
      for t in 0..<row.realTokens {
        for g in 0..<config.groupCount {
          let start = (t * config.groupCount + g) * (config.headRatio + 2) * d
          for r in 0...config.headRatio {
            let head = Array(whole[start + r * d..<start + (r + 1) * d])
            let normed = head.normed(r < config.headRatio ? wq : wk, config.normEpsilon)
            if r < config.headRatio { queries += normed } else { keys += normed }
          }
        }
      }
      output["layer.\(layer).q_normed"] = queries
      output["layer.\(layer).k_normed"] = keys
    }
  }

  private func compare(
    _ output: ParityOutput, _ golden: GoldenTensors, _ file: String, _ report: inout ParityReport
  ) throws(Fault) {
    for name in golden.names.sorted() {
      guard let actual = output[name] else {
        if !Self.isInput(name) { report.skip("\(file) \(name): not computed") }
        continue
      }
      if Self.isWhole(name) {
        let expected = try golden.integers(name)
        report.compare(
          file, name, actual.map { Int($0) }, expected,
          allowed: name.hasSuffix("topk_index") ? Int(bounds.routing * Double(expected.count)) : 0)
        continue
      }
      let isGradient = name.hasPrefix("dhidden")
      let tolerance =
        name == "logits" ? bounds.logits : isGradient ? bounds.gradient : bounds.activation
      report.compare(file, name, actual, try golden.floats(name), tolerance)
    }
  }

  /// What is given and not computed.
  private static func isInput(_ name: String) -> Bool {
    let names: Set<String> = [
      "input_ids", "labels", "shift_labels", "cu_seqlens", "text_position_ids", "image_grid_thw",
      "video_grid_thw", "pixel_values", "pixel_values_videos", "mm_token_type_ids",
    ]
    return names.contains(name) || name.hasPrefix("raw.")
  }

  /// Quantities that are whole numbers and must be equal.
  private static func isWhole(_ name: String) -> Bool {
    ["topk_index", "interp_index", "patch_hw", "cu_seqlens", "mrope_position_ids"].contains {
      name.hasSuffix($0)
    }
  }

  private func gradients(
    _ golden: GoldenTensors, _ report: inout ParityReport, _ output: inout ParityOutput
  ) throws(Fault) {
    let all = try rig.gradients()
    for name in golden.names.sorted() {
      guard let actual = all[name] else {
        report.skip("packed.grads \(name): no such weight")
        continue
      }
      report.compare("packed.grads", name, actual, try golden.floats(name), bounds.gradient)
      output.grads[name] = (golden.shape(name), actual)
    }
  }
}

extension ParityRig {
  /// Gradients of one row that every data-parallel rank ran, under published names.
  func gradients() throws(Fault) -> [String: [Float]] {
    for parameter in model.parameters where parameter.gradient != nil {
      _ = try reducedGradient(parameter)
    }
    return try published { (parameter) throws(Fault) in parameter.gradient?.values }
  }

  /// The mean of the ranks' gradients of a parameter, which stays in its slot.
  /// - Communication: an all-reduce over the data-parallel ranks; all that hold it take part.
  func reducedGradient(_ parameter: Parameter) throws(Fault) -> [Float] {
    guard let gradient = parameter.gradient else { return [] }
    if !parameter.hasGradient { gradient.clear() }
    let group = parameter.role.isExpert ? groups.edp : groups.dp
    try group.allReduce(gradient.floats, order: .distantFirst)
    engine.scale(gradient, by: 1 / Float(groups.dp.size))
    return gradient.values
  }
}

/// What was computed, for comparison and for `--output`.
struct ParityOutput {
  private(set) var values: [String: [Float]] = [:]
  var grads: [String: (shape: [Int], values: [Float])] = [:]
  subscript(name: String) -> [Float]? {
    get { values[name] }
    set { values[name] = newValue }
  }
}

extension [Float] {
  /// RMSNorm of one head in double precision.
  fileprivate func normed(_ weight: [Float], _ epsilon: Float) -> [Float] {
    let mean = reduce(0.0) { $0 + Double($1) * Double($1) } / Double(count)
    let r = 1 / (mean + Double(epsilon)).squareRoot()
    return zip(self, weight).map { Float(Double($0) * r * Double($1)) }
  }
}
