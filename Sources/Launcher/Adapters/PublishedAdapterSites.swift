import Checkpoint
import Model
import Support

/// Finds for every module of a PEFT folder the weight it adapts here.
struct PublishedAdapterSites {
  let folder: AdapterFolder
  let map: NameMap

  struct Piece {
    /// Its number in the folder.
    let module: Int
    var block: AdapterPlan.Block
    let expert: FlatExpert?

    /// First of the rows.
    var start: Int { block.rows.first?.lowerBound ?? 0 }
  }

  /// By our weight, blocks in the order of its rows.
  private(set) var sites: [String: [Piece]] = [:]

  init(folder: AdapterFolder, map: NameMap) {
    self.folder = folder
    self.map = map
  }

  mutating func collect() throws(Fault) {
    var owners: [String: (row: NameMapRow, rows: [Range<Int>])] = [:]
    var others: Set<String> = []
    for row in map.all {
      guard let linear = AdaptableLinear(row) else {
        others.formUnion(row.modules.map(\.name))
        continue
      }
      for module in linear.published { owners[module.name] = (row, module.rows) }
    }
    for (number, module) in folder.modules.enumerated() {
      if let owner = owners[module.path] {
        try add(number, owner.row, owner.rows)
      } else if let layer = Self.expertLayer(module.path) {
        try addExperts(number, layer: layer)
      } else if others.contains(module.path) {
        throw misfit(module, "adapters of this module are not implemented")
      } else {
        throw misfit(module, "the model has no linear map of that name")
      }
    }
    for name in sites.keys {
      sites[name]?.sort { $0.start < $1.start }
    }
  }

  private func misfit(_ module: AdapterFolder.Module, _ text: String) -> Fault {
    Fault(
      .badAdapter, "\(module.path): \(text)", at: .file(folder.path),
      found: "A \(module.a.shape), B \(module.b.shape)",
      fix: "check that the adapter was trained on this model")
  }

  private mutating func add(
    _ number: Int, _ row: NameMapRow, _ rows: [Range<Int>]
  ) throws(Fault) {
    let module = folder.modules[number]
    let outputs = rows.reduce(0) { $0 + $1.count }
    let isTable = AdaptableLinear(row)?.kind == .embedding
    let shapes = AdapterPlan.Site(blocks: [], isTable: isTable).shapes(of: row.shape)
    guard module.a.shape.dropFirst() == shapes.a.dropFirst(), module.b.shape[0] == outputs,
      module.b.shape.dropFirst(2) == shapes.b.dropFirst(2), module.isTable == isTable
    else {
      throw misfit(module, "expected A [r] + \(shapes.a.dropFirst()) and B [\(outputs), r]")
    }
    let rank = module.a.shape[0]
    let block = AdapterPlan.Block(
      published: module.path + ".weight", rows: rows, rank: rank,
      scale: folder.config.scale(module: module.path, rank: rank))
    sites[row.name, default: []].append(Piece(module: number, block: block, expert: nil))
  }

  /// `…layers.3.mlp.experts` or `…experts.base_layer`: the layer's number.
  private static func expertLayer(_ path: String) -> Int? {
    var parts = path.split(separator: ".").map(String.init)
    if parts.last == "base_layer" { parts.removeLast() }
    guard parts.suffix(2) == ["mlp", "experts"], let at = parts.lastIndex(of: "layers") else {
      return nil
    }
    return Int(parts[at + 1])
  }

  private mutating func addExperts(_ number: Int, layer: Int) throws(Fault) {
    let module = folder.modules[number]
    guard let experts = map.config.experts, map.config.isSparse(layer: layer),
      module.a.shape.count == 2, module.b.shape.count == 2,
      module.a.shape[0] % experts.count == 0
    else { throw misfit(module, "layer \(layer) has no experts of that number") }
    let rank = module.a.shape[0] / experts.count
    let (h, f) = (map.config.hiddenSize, experts.intermediateSize)
    let found = (module.a.shape[1], module.b.shape[0])
    let kinds: [(name: String, inputs: Int, outputs: Int)] = [
      ("linear_fc1", h, 2 * f), ("linear_fc2", f, h),
    ]
    let straight = kinds.first { $0.inputs == found.0 && $0.outputs == found.1 }
    let turned = kinds.first { $0.inputs == found.1 && $0.outputs == found.0 }
    guard let kind = straight ?? turned else {
      throw misfit(module, "expected the widths of the experts, \(h) and \(f)")
    }
    let weights = map.all.map(\.name).filter { name in
      LayerName(name).map { $0.index == layer && $0.expert?.rest == kind.name + ".weight" } ?? false
    }
    for weight in weights {
      guard let e = LayerName(weight)?.expert?.index else { continue }
      let block = AdapterPlan.Block(
        published: nil, rows: [0..<kind.outputs], rank: rank,
        scale: folder.config.scale(module: module.path, rank: rank))
      let expert = FlatExpert(index: e, count: experts.count, isTransposed: straight == nil)
      sites[weight, default: []].append(Piece(module: number, block: block, expert: expert))
    }
  }

  /// Checks that the blocks of each site can be one: they share an A and leave no output out.
  /// - Throws: `CKPT-161` for a site where they do not.
  func checkShared() throws(Fault) {
    for (weight, pieces) in sites {
      guard let first = pieces.first, first.block.published != nil else { continue }
      let covered = pieces.reduce(0) { $0 + $1.block.rows.reduce(0) { $0 + $1.count } }
      let modules = map[weight].flatMap { AdaptableLinear($0) }?.modules(.fused) ?? []
      var isShared = covered == modules.reduce(0) { $0 + $1.rows.reduce(0) { $0 + $1.count } }
      let a = try folder.floats(folder.modules[first.module].a)
      for other in pieces.dropFirst() where isShared {
        let isEqual = try folder.floats(folder.modules[other.module].a) == a
        isShared = isEqual && other.block.scale == first.block.scale
      }
      guard isShared else {
        throw Fault(
          .badAdapter,
          "the projections of \(weight) have adapters of their own; Megatron's form has one A for "
            + "all of them", at: .file(folder.path),
          fix: "train it on with the flags of swift sft, or begin from a Megatron adapter")
      }
    }
  }
}
