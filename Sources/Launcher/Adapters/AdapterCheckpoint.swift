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
    plan.trainsBiases = arguments["lora_bias"]?.string == "all"
    for row in map.all {
      if weights.has(MegatronAdapterNames.saved(row.name, plan)) {
        plan.savedWeights.insert(row.name)
      }
      let names = AdapterNames(weight: row.name)
      guard weights.has(names.a), weights.has(names.b) else { continue }
      let a = try weights.describe(names.a).shape
      let b = try weights.describe(names.b).shape
      guard let alpha else {
        throw Fault(
          .badAdapter, "nothing says how the adapter is scaled", at: .file(folder),
          expected: "an args.json with lora_alpha beside the tracker file")
      }
      let rank = a.first ?? 0
      let linear = AdaptableLinear(row)
      let scale = AdapterPlan.scale(alpha: alpha, rank: rank, stabilized: stabilized)
      let site = AdapterPlan.Site(
        blocks: linear?.modules(.fused).map {
          .init(published: nil, rows: $0.rows, rank: rank, scale: scale)
        } ?? [], isTable: linear?.kind == .embedding)
      let shapes = site.shapes(of: row.shape)
      guard rank > 0, a == shapes.a, b == shapes.b else {
        throw Fault(
          .badAdapter, "the adapter of \(row.name) does not fit the model",
          at: .tensor(names.a, file: folder), expected: "\(shapes.a) and \(shapes.b)",
          found: "\(a) and \(b)")
      }
      plan.sites[row.name] = site
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
    plan.savedWeights.contains(name) ? MegatronAdapterNames.saved(name, plan) : name
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
