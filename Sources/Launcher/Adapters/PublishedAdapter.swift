import Checkpoint
import Model
import Support
import Tensor

// r rank   i inputs   o outputs   e experts

/// A PEFT folder under our names: which of our weights it adapts, and the values.
///
/// Adapters of projections that are one matrix here become blocks of one site. Those of expert tensors
/// that are three-dimensional in the published model are cut into one pair per expert: row e·r + j
/// of A, column j·e_count + e of B.
struct PublishedAdapter: WeightSource {
  let folder: AdapterFolder
  let map: NameMap
  let plan: AdapterPlan
  /// Modules of the folder with what they hold of our sites, as they are numbered in the folder.
  let modules: [PublishedModule]
  private let halves: [String: Half]
  private let whole: PublishedWeightSource

  /// Where the values of one of our halves come from.
  private struct Half {
    let shape: [Int]
    let isA: Bool
    let pieces: [(module: Int, source: PublishedModule.Source)]
    var width: Int { shape.dropFirst().reduce(1, *) }
  }

  /// - Parameter sharesA: Megatron's form is wanted: one A over the whole of our weight.
  /// - Throws: `CKPT-161` when the folder does not fit the model, or its As differ where one is
  ///   wanted.
  init(_ folder: AdapterFolder, _ map: NameMap, sharesA: Bool = false) throws(Fault) {
    self.folder = folder
    self.map = map
    var sites = PublishedAdapterSites(folder: folder, map: map)
    try sites.collect()
    if sharesA { try sites.checkShared() }
    var plan = AdapterPlan()
    plan.dropout = folder.config.dropout
    plan.stabilized = folder.config.stabilized
    var halves: [String: Half] = [:]
    var modules = folder.modules.map { PublishedModule(path: $0.path, sources: []) }
    for (weight, pieces) in sites.sites {
      let shape = map[weight]?.shape ?? []
      var first = 0
      var placed: [(module: Int, source: PublishedModule.Source)] = []
      for piece in pieces {
        let source = PublishedModule.Source(
          weight: weight, first: first, rows: piece.block.rows, rank: piece.block.rank,
          scale: piece.block.scale, expert: piece.expert)
        placed.append((piece.module, source))
        modules[piece.module].sources.append(source)
        if !sharesA { first += piece.block.rank }
      }
      let linear = map[weight].flatMap { AdaptableLinear($0) }
      var site = AdapterPlan.Site(
        blocks: pieces.map(\.block), isTable: linear?.kind == .embedding)
      if sharesA, let block = site.blocks.first {
        site.blocks =
          linear?.modules(.fused).map {
            .init(published: nil, rows: $0.rows, rank: block.rank, scale: block.scale)
          } ?? []
      }
      plan.sites[weight] = site
      let names = AdapterNames(weight: weight)
      let halfShapes = site.shapes(of: shape)
      halves[names.a] = Half(shape: halfShapes.a, isA: true, pieces: placed)
      halves[names.b] = Half(shape: halfShapes.b, isA: false, pieces: placed)
    }
    for i in modules.indices {
      modules[i].sources.sort { ($0.expert?.index ?? 0) < ($1.expert?.index ?? 0) }
    }
    // peft stores the base of an adapted embedding too; it is what the model has.
    plan.savedWeights = try PublishedAdapter.saved(folder, map).subtracting(sites.sites.keys)
    plan.trainsBiases = folder.config.trainsBiases
    self.plan = plan
    self.modules = modules
    self.halves = halves
    whole = PublishedWeightSource(SavedModules(folder: folder), map)
  }

  /// Our weights that the folder holds whole.
  private static func saved(_ folder: AdapterFolder, _ map: NameMap) throws(Fault) -> Set<String> {
    let names = Set(folder.saved.map(\.published))
    var known: Set<String> = []
    var result: Set<String> = []
    for row in map.all {
      let pieces = Set(row.pieces.map(\.published))
      guard !pieces.isDisjoint(with: names) else { continue }
      guard pieces.isSubset(of: names) else {
        throw Fault(
          .badAdapter, "\(row.name) is stored in part only", at: .file(folder.path),
          expected: pieces.sorted().joined(separator: ", "))
      }
      known.formUnion(pieces)
      result.insert(row.name)
    }
    // A tied output layer is the embedding; both names hold it.
    if map.config.tiesEmbeddings { known.insert("lm_head.weight") }
    if let odd = names.subtracting(known).sorted().first {
      throw Fault(
        .badAdapter, "\(odd) belongs to no part of the model", at: .file(folder.path))
    }
    return result
  }

  func describe(_ name: String) throws(Fault) -> (dtype: DType, shape: [Int]) {
    guard let half = halves[name] else { return try whole.describe(name) }
    return (.float32, half.shape)
  }

  func read(
    _ name: String, rows: Range<Int>, columns: Range<Int>,
    into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    guard let half = halves[name] else {
      return try whole.read(name, rows: rows, columns: columns, into: target)
    }
    let values = try matrix(half)
    let width = half.width
    let out = target.bindMemory(to: Float.self)
    for (i, row) in rows.enumerated() {
      for (j, column) in columns.enumerated() {
        out[i * columns.count + j] = values[row * width + column]
      }
    }
  }

  private func matrix(_ half: Half) throws(Fault) -> [Float] {
    var values = [Float](repeating: 0, count: half.shape.reduce(1, *))
    let width = half.width
    for (module, source) in half.pieces {
      let stored = try StoredPair(folder, folder.modules[module], source.expert)
      let rank = source.rank
      if half.isA {
        values.replaceSubrange(
          source.first * width..<(source.first + rank) * width, with: stored.a)
        continue
      }
      for (i, row) in source.rows.joined().enumerated() {
        for j in 0..<rank { values[row * width + j] = stored.b[i * rank + j] }
      }
    }
    return values
  }
}

/// The place of an expert in tensors that hold the adapters of all.
struct FlatExpert: Sendable, Equatable {
  let index: Int
  let count: Int
  /// Stored the other way round: A holds what B is here (files of models with transposed experts).
  let isTransposed: Bool
}

/// The two halves of one of our blocks, out of what a folder stores.
struct StoredPair {
  let a: [Float]  // [r, i]
  let b: [Float]  // [o, r]

  init(
    _ folder: AdapterFolder, _ module: AdapterFolder.Module, _ expert: FlatExpert?
  ) throws(Fault) {
    let first = try folder.floats(module.a)
    let second = try folder.floats(module.b)
    guard let expert else {
      (a, b) = (first, second)
      return
    }
    let inputs = module.a.shape[1]
    let rank = module.a.shape[0] / expert.count
    let outputs = module.b.shape[0]
    let down = Array(first[expert.index * rank * inputs..<(expert.index + 1) * rank * inputs])
    var up = [Float](repeating: 0, count: outputs * rank)
    for o in 0..<outputs {
      for j in 0..<rank {
        up[o * rank + j] = second[o * rank * expert.count + j * expert.count + expert.index]
      }
    }
    guard expert.isTransposed else {
      (a, b) = (down, up)
      return
    }
    a = StoredPair.transposed(up, rows: outputs)
    b = StoredPair.transposed(down, rows: rank)
  }

  static func transposed(_ x: [Float], rows: Int) -> [Float] {
    let columns = x.count / rows
    var y = [Float](repeating: 0, count: x.count)
    for i in 0..<rows { for j in 0..<columns { y[j * rows + i] = x[i * columns + j] } }
    return y
  }
}

/// Whole weights of a folder by their published names.
private struct SavedModules: PublishedTensors {
  let folder: AdapterFolder

  private func tensor(_ name: String) -> TensorSpec? {
    folder.saved.first { $0.published == name }?.tensor
  }

  func describe(published name: String) -> (dtype: DType, shape: [Int])? {
    tensor(name).map { ($0.dtype, $0.shape) }
  }

  func readElements(
    published name: String, _ elements: Range<Int>, into target: UnsafeMutableRawBufferPointer
  ) throws(Fault) {
    guard let tensor = tensor(name) else {
      throw Fault(.missingTensor, "the adapter has no such tensor", at: .tensor(name))
    }
    try folder.read(tensor.name, elements: elements, into: target)
  }
}
