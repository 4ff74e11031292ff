import DataPipeline
import Model
import Parallel
import Support
import Tensor

/// `packed.drop`: the row under a capacity; `aux.grads`: gradients of the load-balancing loss alone.
struct ExpertParity {
  let folder: String
  let golden: String
  let dtype: DType
  let rig: ParityRig
  let bounds: ParityBounds
  /// Choices of experts to take over.
  let replay: RoutingReplay?

  /// A rig like `rig` with other choices of its routers.
  private func rig(_ adjust: (inout RouterOptions) -> Void) throws(Fault) -> ParityRig {
    try ParityRig(
      folder: folder, dtype: dtype, groups: rig.groups, engine: rig.engine,
      sequenceParallel: rig.sequenceParallel, adjust: adjust)
  }

  func drop(
    _ drop: GoldenTensors, packed: GoldenTensors, factor: Double, _ report: inout ParityReport
  ) throws(Fault) -> ParityOutput {
    let rig = try rig { $0.capacityFactor = factor }
    let row = try rig.row(packed)
    // A row that lost an expert is another row for the next router: the choices of `packed` are not
    // those of this run.
    let exact =
      dtype == .float32
      ? nil
      : try ReferenceChoices(folder: folder, rig: rig) { $0.capacityFactor = factor }
        .replay(row, logits: try drop.floats("logits"))
    let choices = exact.map { RoutingReplay($0.slots.mapValues { .init(experts: $0.experts) }) }
    var output = ParityOutput()
    let probe = Probe()
    output["logits"] = try logits(rig, row, choices, probe)
    for (name, record) in probe.routings.sorted(by: { $0.key < $1.key }) {
      output[name.replacing("router.", with: "kept.")] = try rig.whole(record, row) {
        record.kept[$0] ? 1 : 0
      }
    }
    if let exact { output["logits"] = try logits(rig, row, exact, nil) }
    let isAlike = dtype == .float32 || exact != nil
    try compare(output, drop, isAlike ? bounds.logits : bounds.ownChoices, &report)
    return output
  }

  private func logits(
    _ rig: ParityRig, _ row: ModelRow, _ replay: RoutingReplay?, _ probe: Probe?
  ) throws(Fault) -> [Float] {
    let context = Context(
      tape: Tape(recording: false),
      setting: rig.setting(
        row, seeds: LossSeeds(), probe: probe, training: false, replay: replay))
    let logits = try rig.model.logits(row.input, in: context)
    return Array(logits.values.prefix(row.realTokens * rig.config.vocabularySize))
  }

  private func compare(
    _ output: ParityOutput, _ drop: GoldenTensors, _ tolerance: Tolerance,
    _ report: inout ParityReport
  ) throws(Fault) {
    for name in drop.names.sorted() {
      guard let actual = output[name] else { continue }
      let expected = try drop.floats(name)
      if name.hasPrefix("kept.") {
        report.compare(
          "packed.drop", name, actual.map { Int($0) }, expected.map { Int($0) },
          allowed: Int(bounds.routing * Double(expected.count)))
      } else {
        report.compare("packed.drop", name, actual, expected, tolerance)
      }
    }
  }

  func auxiliary(_ aux: GoldenTensors, packed: GoldenTensors, _ report: inout ParityReport)
    throws(Fault) -> ParityOutput
  {
    let rig = try rig { $0.auxLossCoefficient = 1 }
    let row = try rig.row(packed)
    try rig.attachGradients()
    var seeds = LossSeeds()
    seeds.token = 0
    seeds.auxiliaryTimesTokens = false
    let tape = Tape()
    let context = Context(
      tape: tape, setting: rig.setting(row, seeds: seeds, replay: replay))
    let result = try rig.model.loss(row.input, plan: RecomputePlan(), in: context)
    try tape.seed(result.loss, with: try Tensor([1], [1], on: rig.engine))
    try tape.backward()
    let gradients = try rig.gradients()
    var output = ParityOutput()
    for name in aux.names.sorted() {
      guard name.hasPrefix("megatron.") else { continue }
      let published = String(name.dropFirst("megatron.".count))
      guard let actual = gradients[published] else {
        report.skip("aux.grads \(name): no such weight")
        continue
      }
      report.compare("aux.grads", name, actual, try aux.floats(name), bounds.gradient)
      output.grads[name] = (aux.shape(name), actual)
    }
    return output
  }
}

/// `padded`: a right-padded batch with a mask.
struct PaddedParity {
  let folder: String
  let rig: ParityRig
  let bounds: ParityBounds

  func run(_ golden: GoldenTensors, _ report: inout ParityReport) throws(Fault) -> ParityOutput {
    let shape = golden.shape("input_ids")
    let (b, s) = (shape[0], shape[1])
    let mask = try golden.integers("attention_mask")
    var starts: [Int32] = [0]
    var positions = [Int32](repeating: 0, count: b * s)
    for sample in 0..<b {
      let length = mask[sample * s..<(sample + 1) * s].reduce(0, +)
      for t in 0..<length { positions[sample * s + t] = Int32(t) }
      for end in [length] + Array(length + 1..<s + 1) where end > 0 && end <= s {
        starts.append(Int32(sample * s + end))
      }
    }
    let batch = PackedBatch(
      inputIDs: try golden.int32("input_ids"), labels: try golden.int32("labels"), lossScale: nil,
      positions: positions, cuSeqlens: Array(Set(starts)).sorted(),
      channels: [String?](repeating: nil, count: b), sampleCount: b)
    let row = try rig.row(batch, of: golden, paddedSequences: (0..<b).map { $0 * s..<($0 + 1) * s })
    let expected = try golden.floats("logits")
    let replay =
      bounds.routing == 0
      ? nil
      : try ReferenceChoices(folder: folder, rig: rig)
        .replay(row, logits: expected) { mask[$0] == 0 }
    let setting = rig.setting(row, seeds: LossSeeds(), training: false, replay: replay)
    let context = Context(tape: Tape(recording: false), setting: setting)
    var logits = try rig.model.logits(row.input, in: context).values
    logits.removeLast(logits.count - b * s * rig.config.vocabularySize)
    var nll = try rig.model.loss(row.input, plan: RecomputePlan(), in: context).perToken
    nll.removeLast(nll.count - b * s)
    let v = rig.config.vocabularySize
    for t in 0..<b * s where mask[t] == 0 {
      for j in 0..<v { logits[t * v + j] = 0 }
    }
    let isAlike = rig.config.experts == nil || bounds.routing == 0 || replay != nil
    report.compare(
      "padded", "logits", logits, expected, isAlike ? bounds.logits : bounds.ownChoices)
    report.compare(
      "padded", "token_nll", nll, try golden.floats("token_nll"),
      isAlike ? bounds.activation : bounds.ownChoices)
    var output = ParityOutput()
    output["logits"] = logits
    output["token_nll"] = nll
    return output
  }
}
