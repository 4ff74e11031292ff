import Checkpoint
import Model
import Support
import Tensor

/// An adapter in either form as one side of a comparison: its halves and the weights trained whole under
/// our names, one per layer and expert.
struct AdapterSide {
  let side: Side
  /// s of each adapted weight; one for each of its blocks.
  let scales: [String: [Double]]

  /// - Parameters:
  ///   - other: what it is compared with.
  ///   - model: folder of the model, where neither side says what it is an adapter of.
  /// - Throws: `FILE-001` when no config.json is found; `CKPT-161` when the store is no adapter of the
  ///   model, or its projections do not share their As as Megatron's form does.
  init(_ store: TensorStore, beside other: TensorStore, _ model: String?) throws(Fault) {
    let config = try QwenConfig(folder: try AdapterSide.home([store, other], model))
    let map = NameMap(config)
    let source: any WeightSource
    let plan: AdapterPlan
    switch store {
    case .adapter(let folder, _):
      let adapter = try PublishedAdapter(folder, map, sharesA: true)
      (source, plan) = (adapter, adapter.plan)
    default:
      let checkpoint = try AdapterCheckpoint(store.path, config)
      (source, plan) = (checkpoint, checkpoint.plan)
    }
    var entries: [Side.Entry] = []
    for (name, shape) in plan.tensors(map) {
      entries.append(Side.Entry(name: name, dtype: try source.describe(name).dtype, shape: shape))
    }
    side = Side(
      entries: entries,
      read: { (entry, elements, target) throws(Fault) in
        // Adapters are small: a tensor is read whole for each of its parts.
        let size = entry.dtype.size
        let width = entry.shape.dropFirst().reduce(1, *)
        try ScratchBytes.with(entry.byteCount) { (all) throws(Fault) in
          try source.read(
            entry.name, rows: 0..<(entry.shape.first ?? 0), columns: 0..<width, into: all)
          target.copyMemory(
            from: UnsafeRawBufferPointer(
              rebasing: all[elements.lowerBound * size..<elements.upperBound * size]))
        }
      })
    scales = plan.sites.mapValues { $0.blocks.map(\.scale) }
  }

  /// The folder with the model's config.json: given, or the base that one of the adapters names.
  private static func home(_ stores: [TensorStore], _ model: String?) throws(Fault) -> String {
    var folders = [model]
    for store in stores {
      switch store {
      case .adapter(let folder, _): folders.append(folder.config.baseModel)
      case .megatron(let location, _):
        folders.append(location.root)
        folders.append(try SavedArguments.read(in: location.root)?["model"]?.string)
      default: break
      }
    }
    guard
      let home = folders.compactMap(\.self).map(PathText.expanded).first(where: {
        Folder.kind($0 + "/config.json") == .file
      })
    else {
      throw Fault(
        .missingFile, "no config.json tells which weights the adapters belong to",
        at: .file(stores[0].path), fix: "name the folder of the model with --model")
    }
    return home
  }
}
