import Checkpoint
import Model
import Optim
import Support
import Tensor

/// The optimizer of a run as a checkpoint holds it: tensors by parameter in fp32, and a record in
/// `common.pt`, both as megatron-core's `fully_reshardable`.
struct OptimizerRecord {
  let run: TrainingRun

  private var optimizer: DistributedOptimizer { run.optimizer }

  /// What `common.pt` says about the way states are stored.
  static let contentMetadata: [(String, PickleValue)] = [
    ("distrib_optim_sharding_type", .text("fully_reshardable")),
    ("distrib_optim_fully_reshardable_mem_efficient", .bool(false)),
    ("singleton_local_shards", .bool(false)), ("chained_optim_avoid_prefix", .bool(true)),
  ]

  /// The states that this rank has to write. Their values are read from the optimizer when they are
  /// written.
  func shards() -> [TensorShard] {
    let parameters = Dictionary(
      uniqueKeysWithValues: optimizer.parameters.map { ($0.parameter.name, $0.parameter) })
    var shards: [TensorShard] = []
    for owned in optimizer.ownedStates {
      guard let parameter = parameters[owned.name], writes(parameter) else { continue }
      let place = run.model.storedName(owned.name)
      let pieces = StatePieces.cut(owned.range, of: parameter.slices, merging: true)
      for kind in optimizer.stateKinds {
        guard let part = OptimizerPart(rawValue: kind.rawValue) else { continue }
        let spec = TensorSpec(
          OptimizerStates.key(part, of: place.key), .float32,
          place.leading.map(\.count) + parameter.slices.globalShape)
        for piece in pieces { shards.append(shard(kind, owned.name, spec, place, piece)) }
      }
    }
    return shards
  }

  private func shard(
    _ kind: StateKind, _ name: String, _ spec: TensorSpec, _ place: StoredName,
    _ piece: StatePiece
  ) -> TensorShard {
    let box = Box(
      offsets: place.leading.map(\.index) + piece.box.offsets,
      sizes: place.leading.map { _ in 1 } + piece.box.sizes)
    let optimizer = optimizer
    return TensorShard(spec, box: box) { (emit) throws(Fault) in
      for range in piece.local {
        try optimizer.exportState(kind, of: name, elements: range) {
          (_, values) throws(Fault) in try emit(UnsafeRawBufferPointer(values))
        }
      }
    }
  }

  /// Whether this rank writes what it owns of a parameter: of several that own the same, one does.
  private func writes(_ parameter: Parameter) -> Bool {
    guard optimizer.options.isDistributed else { return run.holdsFirstCopy(of: parameter) }
    let peers = parameter.role.isExpert ? run.groups.etp : run.groups.tp
    return !parameter.role.isReplicated || peers.rank == 0
  }

  /// The member `optimizer` of `common.pt`. Dense and expert weights are two optimizers of Megatron's.
  var common: PickleValue {
    let groups = optimizer.parameterGroups
    let dense = record(groups.filter { !$0.isExpert })
    guard groups.contains(where: \.isExpert) else { return dense }
    guard groups.contains(where: { !$0.isExpert }) else {
      return record(groups.filter(\.isExpert))
    }
    return .dict([
      PickleMember(key: .int(0), value: dense),
      PickleMember(key: .int(1), value: record(groups.filter(\.isExpert))),
    ])
  }

  private func record(_ groups: [ParameterGroup]) -> PickleValue {
    var members: [(String, PickleValue)] = [
      ("optimizer", .dictionary([("param_groups", .list(groups.map(record)))])),
      ("param_state_sharding_type", .text("fully_reshardable")),
    ]
    if run.lossScaler.isDynamic {
      members.append(
        (
          "grad_scaler",
          .dictionary([
            ("scale", .float(run.lossScaler.scale)),
            ("growth_tracker", .int(run.lossScaler.growthTracker)),
            ("hysteresis_tracker", .int(run.lossScaler.hysteresisTracker)),
          ])
        ))
    }
    return .dictionary(members)
  }

  private func record(_ group: ParameterGroup) -> PickleValue {
    let samples = run.position.scheduledSamples
    let rate = run.schedule.options.learningRate * group.learningRateScale
    var members: [(String, PickleValue)] = [
      ("is_expert_parallel", .bool(group.isExpert)), ("default_config", .bool(true)),
      ("wd_mult", .float(group.decays ? 1 : 0)), ("lr_mult", .float(group.learningRateScale)),
      ("is_decoupled_lr", .bool(false)), ("max_lr", .float(rate)),
      ("min_lr", .float(run.schedule.options.minimum * group.learningRateScale)),
      (
        "lr",
        .float(run.schedule.learningRate(samples: samples, scale: group.learningRateScale))
      ),
    ]
    switch optimizer.options.rule {
    case .adamW(let beta1, let beta2, let epsilon):
      members += [
        ("betas", .tuple([.float(beta1), .float(beta2)])), ("eps", .float(epsilon)),
        ("bias_correction", .bool(true)),
      ]
    case .sgd(let momentum): members.append(("momentum", .float(momentum)))
    }
    members += [
      (
        "weight_decay",
        .float(group.decays ? run.schedule.weightDecay(samples: samples) : 0)
      ),
      ("step", .int(optimizer.stepCount)),
    ]
    return .dictionary(members)
  }

  /// The member `opt_param_scheduler` of `common.pt`.
  var scheduler: PickleValue {
    .dictionary(
      run.schedule.state(samples: run.position.scheduledSamples).members.map {
        ($0.key, PickleValue(json: $0.value))
      })
  }
}

extension PickleValue {
  init(json: JSONValue) {
    if let number = json.int {
      self = .int(number)
    } else if let number = json.double {
      self = .float(number)
    } else if let flag = json.bool {
      self = .bool(flag)
    } else if let text = json.string {
      self = .text(text)
    } else if let items = json.array {
      self = .list(items.map { PickleValue(json: $0) })
    } else if let object = json.object {
      self = .dictionary(object.members.map { ($0.key, PickleValue(json: $0.value)) })
    } else {
      self = .none
    }
  }

  /// Plain data as JSON; nil for anything else.
  var json: JSONValue? {
    switch self {
    case .none: return .null
    case .bool(let flag): return .bool(flag)
    case .int(let number): return JSONValue(number)
    case .float(let number): return JSONValue(number)
    case .text(let text): return .string(text)
    case .list(let items), .tuple(let items): return .array(items.compactMap(\.json))
    case .dict(let members):
      return .object(
        JSONObject(
          members.compactMap { member in
            guard let key = member.key.text, let value = member.value.json else { return nil }
            return (key, value)
          }))
    default: return nil
    }
  }
}
