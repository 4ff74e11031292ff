import DataPipeline
import Parallel
import Support
import Tensor

/// Choices of the reference's experts for a row with which none are stored: those of our own fp32 run,
/// when its logits are the stored ones.
struct ReferenceChoices {
  let folder: String
  /// Gives layout and engine.
  let rig: ParityRig
  var adjust: (inout RouterOptions) -> Void = { _ in }

  /// - Parameters:
  ///   - logits: what was stored for the row, `[t, v]`.
  ///   - ignoring: rows of `logits` without a meaning.
  /// - Returns: nil when the logits are others (the folder's weights are rounded, for example), and
  ///   for a dense model.
  func replay(
    _ row: ModelRow, logits expected: [Float], ignoring: (Int) -> Bool = { _ in false }
  ) throws(Fault) -> RoutingReplay? {
    guard rig.config.experts != nil else { return nil }
    let exact = try ParityRig(
      folder: folder, dtype: .float32, groups: rig.groups, engine: rig.engine,
      sequenceParallel: rig.sequenceParallel, adjust: adjust)
    let probe = Probe()
    let context = Context(
      tape: Tape(recording: false),
      setting: exact.setting(row, seeds: LossSeeds(), probe: probe, training: false))
    var logits = try exact.model.logits(row.input, in: context).values
    let v = rig.config.vocabularySize
    guard logits.count >= expected.count else { return nil }
    logits.removeLast(logits.count - expected.count)
    for t in 0..<expected.count / v where ignoring(t) {
      for j in 0..<v { logits[t * v + j] = expected[t * v + j] }
    }
    guard Difference(logits, expected).relative <= ParityBounds(dtype: .float32).logits.relative
    else { return nil }
    var slots: [String: RoutingReplay.Slots] = [:]
    for (name, record) in probe.routings.sorted(by: { $0.key < $1.key }) {
      slots[name] = RoutingReplay.Slots(
        experts: try exact.whole(record, row) { Float(record.choice.experts[$0]) }.map {
          Int32($0)
        },
        kept: try exact.whole(record, row) { record.kept[$0] ? 1 : 0 }.map { $0 != 0 })
    }
    return RoutingReplay(slots)
  }
}

extension ParityRig {
  /// Something that a router has for each slot, for all rows without the layout's padding: `[t, k]`.
  func whole(
    _ record: Probe.RoutingRecord, _ row: ModelRow, _ value: (Int) -> Float
  ) throws(Fault) -> [Float] {
    let k = record.choice.topK
    var values = [Float](repeating: 0, count: record.logits.rows * k)
    for slot in record.choice.experts.indices { values[slot] = value(slot) }
    return try whole(
      try Tensor(values, [record.logits.rows, k], on: engine),
      placement: Placement(tp: sequenceParallel ? .split(0) : .same), rows: row.realTokens)
  }
}
