import Checkpoint
import Model
import Optim
import Parallel
import Support
import Tensor

/// Optimizer states of frozen layers in tensors that hold the states of trained ones too.
///
/// A key of Megatron's stacks the layers of the model, and what is stored under a key has to cover it
/// exactly once. Where only some layers are trained, the others get what a run that thaws them would
/// begin with: the weight as master, moments of zero.
struct FrozenStates {
  let run: TrainingRun

  /// The pieces that this rank has to write.
  /// - Communication: one maximum over all ranks.
  /// - Throws: `COMM-003`.
  func shards() throws(Fault) -> [TensorShard] {
    let trained = Set(run.optimizer.parameters.map(\.parameter.name))
    let places = run.model.parameters.map { ($0, run.model.storedName($0.name)) }
    let stacks = try stacksWithStates(
      keys: Set(places.map(\.1.key)).sorted(),
      own: Set(places.filter { trained.contains($0.0.name) }.map(\.1.key)))
    return places.filter { parameter, place in
      !place.leading.isEmpty && stacks.contains(place.key) && !trained.contains(parameter.name)
        && run.holdsFirstCopy(of: parameter)
    }.flatMap { shards(of: $0.0, at: $0.1) }
  }

  /// The keys under which some rank trains something: experts of one layer lie on several ranks.
  private func stacksWithStates(keys: [String], own: Set<String>) throws(Fault) -> Set<String> {
    var marks = keys.map { Int64(own.contains($0) ? 1 : 0) }
    let world = run.groups.world
    if world.size > 1, !marks.isEmpty {
      try marks.withUnsafeMutableBufferPointer { (p) throws(Fault) in try world.allReduceMax(p) }
    }
    return Set(zip(keys, marks).filter { $1 != 0 }.map(\.0))
  }

  private func shards(of parameter: Parameter, at place: StoredName) -> [TensorShard] {
    run.optimizer.stateKinds.flatMap { kind -> [TensorShard] in
      guard let part = OptimizerPart(rawValue: kind.rawValue) else { return [] }
      let key = OptimizerStates.key(part, of: place.key)
      guard part != .master else {
        return WeightShards.shards(of: parameter, at: place, key: key, as: .float32)
      }
      return WeightShards.boxes(of: parameter, at: place).map { box, _ in
        let spec = TensorSpec(
          key, .float32, place.leading.map(\.count) + parameter.slices.globalShape)
        return TensorShard(spec, box: box) { (emit) throws(Fault) in
          try FrozenStates.emitZeros(box.count, emit)
        }
      }
    }
  }

  private static func emitZeros(
    _ count: Int, _ emit: (UnsafeRawBufferPointer) throws(Fault) -> Void
  ) throws(Fault) {
    let zeros = [UInt8](repeating: 0, count: min(4 * count, 1 << 18))
    var left = 4 * count
    while left > 0 {
      let here = min(left, zeros.count)
      try zeros.withRaw { (raw) throws(Fault) in
        try emit(UnsafeRawBufferPointer(rebasing: raw[..<here]))
      }
      left -= here
    }
  }
}
