import Support
import Tensor

// All tensor parallelism is these conversions: what the forward pass does to a value and the
// mirrored thing the backward pass does to its gradient.
//
//   same    → copied    nothing          all-reduce        enterRegion
//   partial → same      all-reduce       nothing           leaveRegion
//   partial → split(0)  reduce-scatter   all-gather        leaveRegion, sequence parallel
//   split(0) → copied   all-gather       reduce-scatter    gatherRows
//   same    → split(0)  own rows         all-gather        scatterRows
//   split(0) → same     all-gather       own rows          collectRows
//
// Summands are fp32 and are rounded to the activation type once, after the sum; rows travel in the
// activation type. So a value has the same bits whatever the size of the group.
// Sources: Shoeybi et al. 2019, section 3; Korthikanti et al. 2022, section 4.2.

/// The gradient's side of a conversion.
struct Conversion: Operation {
  static let name: StaticString = "conversion"
  enum Gradient: Sendable { case allReduce, pass, allGather, reduceScatter, ownRows }
  let gradient: Gradient
  let group: any Communicator
  /// Type of the activations: what a summed gradient is rounded to.
  let dtype: DType

  var savedBytes: Int { 0 }

  func backward(_ dy: Tensor, wanting: Set<Int>) throws(Fault) -> [Tensor?] {
    switch gradient {
    case .pass: return [dy]
    case .allReduce: return [try group.summed(dy, as: dtype)]
    case .reduceScatter: return [try group.sumScattered(dy, as: dtype)]
    case .allGather: return [try group.gathered(try dy.converted(to: dtype))]
    case .ownRows: return [try group.ownRows(of: dy)]
    }
  }
}

extension Context {
  /// `same → copied`: before a layer whose ranks each compute a part from the whole input.
  /// - Communication (tp): backward all-reduce of the value's size in fp32.
  public func enterRegion(_ x: Value) throws(Fault) -> Value {
    try x.require(.tp, [.same], in: "enterRegion")
    return tape.record(
      x.tensor, x.placement.with(.tp, .copied), from: [x],
      Conversion(gradient: .allReduce, group: groups.tp, dtype: x.dtype))
  }

  /// `partial → same`, or `partial → split(0)` with sequence parallelism, rounded to `dtype`.
  /// - Communication (tp): forward all-reduce or reduce-scatter in fp32; backward all-gather with
  ///   sequence parallelism, else none.
  public func leaveRegion(_ x: Value, as dtype: DType) throws(Fault) -> Value {
    try x.require(.tp, [.partial], in: "leaveRegion")
    if setting.sequenceParallel {
      return tape.record(
        try groups.tp.sumScattered(x.tensor, as: dtype), x.placement.with(.tp, .split(0)),
        from: [x], Conversion(gradient: .allGather, group: groups.tp, dtype: dtype))
    }
    return tape.record(
      try groups.tp.summed(x.tensor, as: dtype), x.placement.with(.tp, .same), from: [x],
      Conversion(gradient: .pass, group: groups.tp, dtype: dtype))
  }

  /// `split(0) → copied`.
  /// - Communication (tp): forward all-gather, backward reduce-scatter in fp32.
  public func gatherRows(_ x: Value) throws(Fault) -> Value {
    try x.require(.tp, [.split(0)], in: "gatherRows")
    return tape.record(
      try groups.tp.gathered(x.tensor), x.placement.with(.tp, .copied), from: [x],
      Conversion(gradient: .reduceScatter, group: groups.tp, dtype: x.dtype))
  }

  /// `same → split(0)`.
  /// - Communication (tp): backward all-gather.
  public func scatterRows(_ x: Value) throws(Fault) -> Value {
    try x.require(.tp, [.same], in: "scatterRows")
    return tape.record(
      try groups.tp.ownRows(of: x.tensor), x.placement.with(.tp, .split(0)), from: [x],
      Conversion(gradient: .allGather, group: groups.tp, dtype: x.dtype))
  }

  /// `split(0) → same`.
  /// - Communication (tp): forward all-gather.
  public func collectRows(_ x: Value) throws(Fault) -> Value {
    try x.require(.tp, [.split(0)], in: "collectRows")
    return tape.record(
      try groups.tp.gathered(x.tensor), x.placement.with(.tp, .same), from: [x],
      Conversion(gradient: .ownRows, group: groups.tp, dtype: x.dtype))
  }
}
