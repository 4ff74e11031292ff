import Checkpoint
import Model
import Support
import Tensor

/// A Megatron checkpoint that holds only an adapter: `….lora_A.default.weight` and
/// `….modules_to_save.default.weight` beside an `args.json` that says how it is scaled.
struct AdapterCheckpoint: WeightSource {
  let location: CheckpointLocation
  let plan: AdapterPlan
  /// The settings of the run that wrote it.
  let arguments: JSONObject
  private let weights: MegatronWeights

  /// - Parameter path: the folder with the tracker and `args.json`, or an iteration folder.
  /// - Throws: `CKPT-141` and the like; `CKPT-161` when it holds no adapter of this model, or nothing
  ///   says how it is scaled.
  init(_ path: String, _ config: QwenConfig) throws(Fault) {
    let location = try CheckpointLocator.resolve(PathText.absolute(path))
    self.location = location
    weights = try MegatronWeights(location.folder, config)
    arguments = try SavedArguments.read(in: location.root) ?? JSONObject()
    plan = try AdapterCheckpoint.plan(weights, NameMap(config), arguments, location.folder)
  }

  private static func plan(
    _ weights: MegatronWeights, _ map: NameMap, _ arguments: JSONObject, _ folder: String
  ) throws(Fault) -> AdapterPlan {
    var plan = AdapterPlan()
    let alpha = arguments["lora_alpha"]?.double
    let stabilized = arguments["use_rslora"]?.bool ?? false
    for row in map.all {
      if weights.has(MegatronAdapterNames.saved(row.name)) { plan.savedWeights.insert(row.name) }
      let names = AdapterNames(weight: row.name)
      guard weights.has(names.a), weights.has(names.b) else { continue }
      let a = try weights.describe(names.a).shape
      let b = try weights.describe(names.b).shape
      guard a.count == 2, b.count == 2, a[0] == b[1], a[1] == row.shape[1], b[0] == row.shape[0]
      else {
        throw Fault(
          .badAdapter, "the adapter of \(row.name) does not fit the model",
          at: .tensor(names.a, file: folder),
          expected: "[r, \(row.shape[1])] and [\(row.shape[0]), r]", found: "\(a) and \(b)")
      }
      guard let alpha else {
        throw Fault(
          .badAdapter, "nothing says how the adapter is scaled", at: .file(folder),
          expected: "an args.json with lora_alpha beside the tracker file")
      }
      plan.sites[row.name] = .init(blocks: [
        .init(
          published: nil, rows: [0..<row.shape[0]], rank: a[0],
          scale: AdapterPlan.scale(alpha: alpha, rank: a[0], stabilized: stabilized))
      ])
    }
    plan.stabilized = stabilized
    guard !plan.sites.isEmpty || !plan.savedWeights.isEmpty else {
      throw Fault(
        .badAdapter, "the checkpoint holds no adapter of this model", at: .file(folder),
        expected: "keys with .lora_A.default.weight",
        fix: "a checkpoint of whole weights is named with --load or --mcore_model")
    }
    return plan
  }

  private func stored(_ name: String) -> String {
    plan.savedWeights.contains(name) ? MegatronAdapterNames.saved(name) : name
  }

  func describe(_ name: String) throws(Fault) -> (dtype: DType, shape: [Int]) {
    try weights.describe(stored(name))
  }

  func read(
    _ name: String, rows: Range<Int>, columns: Range<Int>,
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    try weights.read(stored(name), rows: rows, columns: columns, into: target)
  }
}
