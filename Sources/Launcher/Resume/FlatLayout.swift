import Checkpoint
import Model
import Parallel
import Support
import Tensor

/// Finds parameters in the flat optimizer buffers of a Megatron run of the same layout.
///
/// A buffer has no names: places follow from the order in which Megatron's model registers its
/// parameters, which differs between its layer specifications. The one whose parameters begin where
/// the stored pieces begin is the right one.
struct FlatLayout {
  let config: QwenConfig
  let groups: RankGroups

  private static let fused = [
    "self_attention.linear_proj.weight", "self_attention.linear_qkv.layer_norm_weight",
    "self_attention.linear_qkv.weight", "self_attention.q_layernorm.weight",
    "self_attention.k_layernorm.weight", "pre_mlp_layernorm.weight", "mlp.router.weight",
    "mlp.linear_fc1.layer_norm_weight", "mlp.linear_fc1.weight", "mlp.linear_fc2.weight",
  ]
  private static let local = [
    "self_attention.linear_qkv.layer_norm_weight", "self_attention.linear_proj.weight",
    "self_attention.linear_qkv.weight", "self_attention.q_layernorm.weight",
    "self_attention.k_layernorm.weight", "pre_mlp_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight", "mlp.router.weight", "mlp.linear_fc1.weight",
    "mlp.linear_fc2.weight",
  ]

  /// - Throws: `CKPT-151` when the save had other model-parallel sizes.
  static func check(_ loaded: LoadedCheckpoint, _ groups: RankGroups) throws(Fault) {
    let sizes = [
      ("tensor_model_parallel_size", groups.tp.size), ("pipeline_model_parallel_size", 1),
      ("expert_model_parallel_size", groups.ep.size),
    ]
    for (name, own) in sizes {
      let stored = loaded.common[arg: name]?.int ?? 1
      guard stored == own else {
        throw Fault(
          .badOptimizerState,
          "the optimizer states lie in flat buffers (dp_reshardable), which only the layout that "
            + "wrote them can use", at: .file(loaded.folder), expected: "\(name) \(stored)",
          found: "\(own)",
          fix: "give that layout, or save with --dist-ckpt-optim-fully-reshardable in Megatron")
      }
    }
  }

  /// - Throws: `CKPT-151` when the buffers fit neither order.
  func states(
    of parameters: [Parameter], isExpert: Bool, _ reader: TorchDistReader
  ) throws(Fault) -> FlatOptimizerStates {
    let group =
      isExpert ? groups.etp.rank + groups.etp.size * groups.ep.rank : groups.tp.rank
    let prefixes = isExpert ? ["chained_1.", ""] : ["", "chained_0."]
    var fault: Fault?
    for prefix in prefixes {
      for order in [Self.fused, Self.local] {
        do throws(Fault) {
          return try FlatOptimizerStates(
            reader, group: group, prefix: prefix,
            parameters: sorted(parameters, order).map { ($0.name, $0.count) })
        } catch {
          fault = fault ?? error
        }
      }
    }
    throw fault ?? Fault(.internalError, "flat buffers without an order")
  }

  /// Embedding, layers in the order of `order`, all first expert matrices before all second ones, final
  /// norm, output layer.
  private func sorted(_ parameters: [Parameter], _ order: [String]) -> [Parameter] {
    func rank(_ parameter: Parameter) -> [Int] {
      guard let layer = LayerName(parameter.name) else {
        let last = ["embedding.", "decoder.", "output_layer."]
        let place = last.firstIndex { parameter.name.hasPrefix($0) } ?? last.count
        return place == 0 ? [0] : [2, place]
      }
      if let expert = layer.expert {
        return [1, layer.index, order.count, expert.rest.contains("fc2") ? 1 : 0, expert.index]
      }
      return [1, layer.index, order.firstIndex(of: layer.rest) ?? order.count]
    }
    return parameters.map { (rank($0), $0) }
      .sorted { $0.0.lexicographicallyPrecedes($1.0) }.map { $0.1 }
  }

  /// Reads a flat run of our local tensor; Megatron's has its rows in the order of the whole tensor.
  static func read(
    _ range: Range<Int>, of parameter: Parameter, _ part: OptimizerPart,
    _ states: FlatOptimizerStates, into values: UnsafeMutableBufferPointer<Float>
  ) throws(Fault) {
    let slices = parameter.slices
    func fetch(_ own: Range<Int>, shift: Int) throws(Fault) {
      let target = own.shifted(by: -range.lowerBound)
      try states.read(
        part, of: parameter.name, elements: own.shifted(by: shift),
        into: UnsafeMutableRawBufferPointer(
          UnsafeMutableBufferPointer(rebasing: values[target])))
    }
    guard slices.runs.count > 1, slices.dim == 0 else { return try fetch(range, shift: 0) }
    let unit = slices.localShape.dropFirst().reduce(1, *)
    var position = 0
    for run in slices.runs.sorted(by: { $0.global < $1.global }) {
      let own = (run.local * unit..<(run.local + run.count) * unit).clamped(to: range)
      if !own.isEmpty { try fetch(own, shift: (position - run.local) * unit) }
      position += run.count
    }
  }
}
